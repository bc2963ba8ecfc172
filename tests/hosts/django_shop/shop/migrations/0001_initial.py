from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            "Order",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("email", models.CharField(max_length=100)),
                ("cents", models.IntegerField()),
                ("status", models.CharField(default="new", max_length=20)),
            ],
            options={"db_table": "orders"},
        ),
        migrations.CreateModel(
            "Episode",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("title", models.CharField(max_length=100)),
            ],
            options={"db_table": "episodes"},
        ),
    ]
