//! SQLite in WAL mode, one table `WITHOUT ROWID`. Unsynced: `synchronous = OFF`, which outlives the process and not a system crash. Durable: `FULL`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Result;
use rusqlite::{CachedStatement, Connection, OpenFlags, params};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup, Survives};

pub const KIND: Kind = Kind { name: "SQLite", shared: true, open, ..PLAIN };

struct Sqlite {
    path: PathBuf,
    cache: usize,
    writer: Mutex<Connection>,
    /// Connections for sessions, kept for the next one.
    readers: Mutex<Vec<Connection>>,
}

struct Session<'a>(CachedStatement<'a>);

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Peer>> {
    let path = dir.join("sqlite");
    let writer = connect(&path, setup.cache, setup.read_only)?;
    if !setup.read_only {
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(
            None,
            "synchronous",
            if setup.ask == Survives::Power { "FULL" } else { "OFF" },
        )?;
        writer.execute("CREATE TABLE IF NOT EXISTS keys (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID", [])?;
    }
    Ok(Box::new(Sqlite {
        path,
        cache: setup.cache,
        writer: Mutex::new(writer),
        readers: Mutex::default(),
    }))
}

fn connect(path: &Path, cache: usize, read_only: bool) -> Result<Connection> {
    let access = if read_only {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
    };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "mmap_size", 64i64 << 30)?;
    connection.pragma_update(None, "cache_size", -((cache >> 10).min(256 << 10) as i64))?;
    Ok(connection)
}

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let mut rows = self.0.query([key])?;
        let Some(row) = rows.next()? else { return Ok(false) };
        found(row.get_ref(0)?.as_blob()?);
        Ok(true)
    }
}

impl Peer for Sqlite {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        let kept = self.readers.lock().expect("no panic under the lock").pop();
        let connection = kept.map_or_else(|| connect(&self.path, self.cache, true), Ok)?;
        // One read transaction for the session, as the other stores with transactions have.
        connection.execute_batch("BEGIN")?;
        session(&mut Session(connection.prepare_cached("SELECT value FROM keys WHERE key = ?1")?))?;
        connection.execute_batch("COMMIT")?;
        self.readers.lock().expect("no panic under the lock").push(connection);
        Ok(())
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        let mut connection = self.writer.lock().expect("no panic under the lock");
        let transaction = connection.transaction()?;
        {
            let mut put =
                transaction.prepare_cached("INSERT OR REPLACE INTO keys VALUES (?1, ?2)")?;
            let mut delete = transaction.prepare_cached("DELETE FROM keys WHERE key = ?1")?;
            for op in ops {
                match op {
                    Op::Put(key, value) => put.execute(params![key, value])?,
                    Op::Delete(key) => delete.execute([key])?,
                };
            }
        }
        Ok(transaction.commit()?)
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        let connection = connect(&self.path, self.cache, true)?;
        let mut statement = connection.prepare("SELECT key, value FROM keys")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(row.get_ref(1)?.as_blob()?);
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<bool> {
        let writer = self.writer.lock().expect("no panic under the lock");
        writer.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?;
        Ok(true)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.readers.lock().expect("no panic under the lock").clear();
        let writer = self.writer.into_inner().expect("no panic under the lock");
        writer.close().map_err(|(_, error)| error.into())
    }
}
