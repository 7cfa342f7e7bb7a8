"""The ledger: decisions, and what became of them.

Workers append to journals, files of their own; the importer, in another process, brings the journals into a store
(SQLite, or PostgreSQL for several sidecars). So no worker waits for a database, and an outcome is safe as soon as its
bytes are on the disk, whether or not the store is there.
"""
