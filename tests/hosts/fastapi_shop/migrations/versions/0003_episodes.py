import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    op.create_table(
        "episodes", sa.Column("id", sa.Integer, primary_key=True), sa.Column("title", sa.Text, nullable=False)
    )


def downgrade():
    op.drop_table("episodes")
