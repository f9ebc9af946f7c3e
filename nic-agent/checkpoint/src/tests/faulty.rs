//! A disk in memory that fails when told to, and whose power can be cut at any moment.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use redb::{Builder, Database, ReadableDatabase, StorageBackend};

use crate::error::{SaveError, Unusable};
use crate::medium::Medium;
use crate::tables::META;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<World>>);

#[derive(Debug, Clone, Default)]
struct World {
    files: Vec<Inode>,
    /// Which of them has the name.
    file: Option<usize>,
    new: Option<usize>,
    aside: Option<usize>,
    /// Operations so far.
    operations: usize,
    fault: Fault,
    /// The power was cut.
    dark: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fault {
    #[default]
    None,
    /// From this operation on, so many fail.
    Fails { from: usize, count: usize },
    /// At this operation the power is cut.
    PowerCut(usize),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    /// What the disk has for sure.
    synced: Vec<u8>,
    /// What is read.
    now: Vec<u8>,
    /// What the disk may have beyond what it has for sure.
    unsynced: Vec<Write>,
}

#[derive(Debug, Clone)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Write {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Write::Bytes(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
            Write::Length(length) => bytes.resize(*length, 0),
        }
    }

    /// The sectors of a write may reach the disk each by itself.
    fn sectors(self) -> Vec<Write> {
        match self {
            Write::Bytes(offset, data) => {
                let first = (SECTOR - offset % SECTOR).min(data.len());
                let (head, rest) = data.split_at(first);
                let mut parts = vec![Write::Bytes(offset, head.to_vec())];
                for (number, part) in rest.chunks(SECTOR).enumerate() {
                    parts.push(Write::Bytes(offset + first + number * SECTOR, part.to_vec()));
                }
                parts
            }
            length @ Write::Length(_) => vec![length],
        }
    }
}

/// A small generator, so that a seed decides what a power cut leaves.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn coin(&mut self) -> bool {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 63 == 1
    }
}

impl World {
    /// Counts an operation, which fails if a fault strikes.
    fn operate(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        match self.fault {
            Fault::PowerCut(at) if number >= at => self.dark = true,
            Fault::Fails { from, count } if (from..from + count).contains(&number) => {
                return Err(ErrorKind::StorageFull.into());
            }
            _ => {}
        }
        if self.dark { Err(ErrorKind::Other.into()) } else { Ok(()) }
    }
}

impl Disk {
    fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        work(&mut self.0.lock().expect("not poisoned"))
    }

    /// A disk with the same contents.
    pub(super) fn copy(&self) -> Disk {
        Disk(Arc::new(Mutex::new(self.with(|world| world.clone()))))
    }

    /// A fault from now on; `fault` is given the number of the next operation.
    pub(super) fn fault(&self, fault: impl FnOnce(usize) -> Fault) {
        self.with(|world| world.fault = fault(world.operations));
    }

    pub(super) fn is_dark(&self) -> bool {
        self.with(|world| world.dark)
    }

    pub(super) fn has_file(&self) -> bool {
        self.with(|world| world.file.is_some())
    }

    pub(super) fn has_aside(&self) -> bool {
        self.with(|world| world.aside.is_some())
    }

    pub(super) fn operations(&self) -> usize {
        self.with(|world| world.operations)
    }

    /// An entry of what is said of the objects.
    pub(super) fn meta(&self, name: &str) -> Vec<u8> {
        let database = self.copy().open().expect("readable").expect("a policy");
        let table = database.begin_read().expect("readable").open_table(META).expect("a table");
        table.get(name).expect("readable").expect("an entry").value().to_vec()
    }

    /// Writes such an entry.
    pub(super) fn set_meta(&self, name: &str, value: &[u8]) {
        let database = self.clone().open().expect("readable").expect("a policy");
        let transaction = database.begin_write().expect("a transaction");
        transaction.open_table(META).expect("a table").insert(name, value).expect("written");
        transaction.commit().expect("committed");
    }

    /// The disk after the power came back, with any part of what was not synced.
    pub(super) fn after_power_cut(&self, dice: &mut Dice) -> Disk {
        let disk = self.copy();
        disk.with(|world| {
            for inode in &mut world.files {
                let mut bytes = std::mem::take(&mut inode.synced);
                for sector in inode.unsynced.drain(..).flat_map(Write::sectors) {
                    if dice.coin() {
                        sector.apply(&mut bytes);
                    }
                }
                inode.now.clone_from(&bytes);
                inode.synced = bytes;
            }
            world.fault = Fault::None;
            world.dark = false;
        });
        disk
    }

    fn backend(&self, inode: usize) -> Backend {
        Backend { disk: self.clone(), inode }
    }
}

impl Medium for Disk {
    fn open(&mut self) -> Result<Option<Database>, Unusable> {
        let Some(inode) = self.with(|world| world.file) else { return Ok(None) };
        if self.with(|world| world.files[inode].now.is_empty()) {
            return Err(Unusable::Empty);
        }
        Ok(Some(Builder::new().create_with_backend(self.backend(inode))?))
    }

    fn put_aside(&mut self) -> io::Result<()> {
        self.with(|world| {
            world.operate()?;
            world.aside = world.file.take();
            Ok(())
        })
    }

    fn create(&mut self) -> Result<Database, SaveError> {
        let inode = self.with(|world| {
            world.operate()?;
            world.files.push(Inode::default());
            world.new = Some(world.files.len() - 1);
            Ok(world.files.len() - 1)
        });
        let inode = inode.map_err(SaveError::file("making a file"))?;
        let database = Builder::new().create_with_backend(self.backend(inode));
        database.map_err(|error| SaveError::Database(error.into()))
    }

    fn install(&mut self) -> io::Result<()> {
        self.with(|world| {
            world.operate()?;
            world.file = world.new.take();
            Ok(())
        })
    }

    fn destroy(&mut self) -> io::Result<()> {
        self.with(|world| {
            world.operate()?;
            world.file = None;
            world.new = None;
            Ok(())
        })
    }
}

#[derive(Debug)]
struct Backend {
    disk: Disk,
    inode: usize,
}

impl Backend {
    fn write(&self, write: Write) -> io::Result<()> {
        self.disk.with(|world| {
            world.operate()?;
            let inode = &mut world.files[self.inode];
            write.apply(&mut inode.now);
            inode.unsynced.push(write);
            Ok(())
        })
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.with(|world| world.files[self.inode].now.len()) as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.with(|world| {
            let bytes = &world.files[self.inode].now;
            let end = offset as usize + out.len();
            out.copy_from_slice(bytes.get(offset as usize..end).ok_or(ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write(Write::Length(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.with(|world| {
            world.operate()?;
            let inode = &mut world.files[self.inode];
            inode.synced.clone_from(&inode.now);
            inode.unsynced.clear();
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Backend::write(self, Write::Bytes(offset as usize, data.to_vec()))
    }
}
