from django.urls import path

from shop import views

urlpatterns = [
    path("orders", views.order),
    path("orders/<int:pk>", views.look),
    path("gifts", views.gift),
    path("bare", views.bare),
    path("cancel/<str:saga_id>", views.cancel),
    path("tasks/<str:name>", views.task),
]
