"""What customers own: products, subscriptions with their versions, relations and history; which templates are about them."""

import uuid

import django.db.models.deletion
from django.db import migrations, models

import workflows.engine.lifecycle
import workflows.models.fields


class Migration(migrations.Migration):
    dependencies = [
        ("workflows", "0007_engine_controls"),
    ]

    operations = [
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=200, unique=True)),
                ("tag", models.CharField(blank=True, default="", max_length=200)),
                ("description", models.TextField(blank=True, default="")),
                ("values_schema", workflows.models.fields.JsonText()),
                ("fixed_inputs", workflows.models.fields.JsonText()),
                ("created_at", models.DateTimeField()),
                ("updated_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name="workflowtemplate",
            name="target",
            field=models.CharField(blank=True, default="", max_length=16),
        ),
        migrations.CreateModel(
            name="Subscription",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("customer", models.CharField(max_length=200)),
                (
                    "status",
                    workflows.models.fields.StateField(
                        default=workflows.engine.lifecycle.SubscriptionStatus["INITIAL"], max_length=24
                    ),
                ),
                ("values", workflows.models.fields.JsonText()),
                ("version", models.PositiveIntegerField(default=1)),
                ("note", models.TextField(blank=True, default="")),
                ("held_since", models.DateTimeField(null=True)),
                ("active_since", models.DateTimeField(null=True)),
                ("terminated_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField()),
                ("updated_at", models.DateTimeField()),
                (
                    "holder",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="holds",
                        to="workflows.workflowinstance",
                    ),
                ),
                (
                    "product",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="subscriptions",
                        to="workflows.product",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SubscriptionEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("CREATED", "Created"),
                            ("TAKEN", "Taken"),
                            ("RELEASED", "Released"),
                            ("UNLOCKED", "Unlocked"),
                            ("RELATED", "Related"),
                            ("UNRELATED", "Unrelated"),
                            ("NOTED", "Noted"),
                        ],
                        max_length=16,
                    ),
                ),
                ("occurred_at", models.DateTimeField()),
                ("actor", models.CharField(max_length=150)),
                ("reason", models.TextField(blank=True, default="")),
                ("data", workflows.models.fields.JsonText()),
                (
                    "instance",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="workflows.workflowinstance",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="history",
                        to="workflows.subscription",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SubscriptionRelation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "child",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="in_use_by",
                        to="workflows.subscription",
                    ),
                ),
                (
                    "parent",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="depends_on",
                        to="workflows.subscription",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="SubscriptionVersion",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("version", models.PositiveIntegerField()),
                ("values", workflows.models.fields.JsonText()),
                ("status", models.CharField(max_length=24)),
                ("stage_name", models.CharField(max_length=200)),
                ("task_name", models.CharField(max_length=200)),
                ("attempt", models.PositiveIntegerField()),
                ("compensation", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField()),
                (
                    "instance",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="workflows.workflowinstance",
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="versions",
                        to="workflows.subscription",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(fields=["-created_at", "-id"], name="subscription_newest"),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(fields=["product", "-created_at"], name="subscription_by_product"),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(fields=["customer", "-created_at"], name="subscription_by_customer"),
        ),
        migrations.AddIndex(
            model_name="subscription",
            index=models.Index(fields=["status", "-created_at"], name="subscription_by_status"),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status", "initial"),
                    ("status", "provisioning"),
                    ("status", "active"),
                    ("status", "migrating"),
                    ("status", "disabled"),
                    ("status", "terminated"),
                    _connector="OR",
                ),
                name="subscription_status_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="subscription",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("held_since", None), ("holder", None)),
                    models.Q(("held_since__isnull", False), ("holder__isnull", False)),
                    _connector="OR",
                ),
                name="subscription_held_since_a_moment",
            ),
        ),
        migrations.AddIndex(
            model_name="subscriptionevent",
            index=models.Index(fields=["subscription", "id"], name="subscription_history"),
        ),
        migrations.AddConstraint(
            model_name="subscriptionrelation",
            constraint=models.UniqueConstraint(fields=("parent", "child"), name="one_relation_of_two_subscriptions"),
        ),
        migrations.AddConstraint(
            model_name="subscriptionrelation",
            constraint=models.CheckConstraint(
                condition=models.Q(("parent", models.F("child")), _negated=True), name="no_subscription_uses_itself"
            ),
        ),
        migrations.AddConstraint(
            model_name="subscriptionversion",
            constraint=models.UniqueConstraint(
                fields=("subscription", "version"), name="one_row_per_subscription_version"
            ),
        ),
    ]
