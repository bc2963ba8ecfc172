from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade():
    op.create_index("episodes_one_title", "episodes", ["title"], unique=True)


def downgrade():
    op.drop_index("episodes_one_title", "episodes")
