from django.urls import path

from shop import views

urlpatterns = [
    path("buy", views.buy),
    path("orders", views.order),
    path("orders/<int:pk>", views.look),
    path("gifts", views.gift),
    path("bare", views.bare),
    path("cancel/api/<str:saga_id>", views.cancel),
    path("cancel/task/<str:saga_id>", views.cancel_by_task),
    path("tasks/<str:name>", views.task),
]
