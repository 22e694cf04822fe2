"""The only package with SQL: tables, migrations, one file per family of tables, two databases behind one interface."""
