//! A card in memory: what was written and synced, what was only written, and a power supply that fails at any
//! write.
//!
//! After a power cut each write that was not synced is there or not, as [`Fate`] says. The boot loader is a
//! model of systemd-boot of its own: it shares no code with what it tests.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::medium::{Card, Folder, Output, Partition, Running, Slot};
use crate::{STORE, Version};

pub(crate) const BOARD: &str = "generic";
/// Octets of a partition.
pub(crate) const PARTITION: usize = 640 << 10;
/// Octets of the ESP.
const ESP: u64 = 1 << 20;

/// What becomes of a write that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Lost,
    Done,
    /// Half of the data is there; of a rename on the ESP, which has no journal, both names.
    Half,
    /// Of a rename on the ESP no name is left; else as `Lost`.
    Neither,
}

pub(crate) const FATES: [Fate; 4] = [Fate::Lost, Fate::Done, Fate::Half, Fate::Neither];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Esp,
    Data,
}

#[derive(Debug, Clone)]
enum Op {
    Partition { slot: Slot, offset: usize, bytes: Vec<u8> },
    Append { file: u64, bytes: Vec<u8> },
    Create { place: Place, name: String, file: u64 },
    Rename { place: Place, from: String, to: String },
    Remove { place: Place, name: String },
}

#[derive(Debug, Clone, Default)]
struct Disk {
    partitions: [Vec<u8>; 2],
    esp: BTreeMap<String, u64>,
    data: BTreeMap<String, u64>,
    files: BTreeMap<u64, Vec<u8>>,
}

impl Disk {
    fn folder(&mut self, place: Place) -> &mut BTreeMap<String, u64> {
        match place {
            Place::Esp => &mut self.esp,
            Place::Data => &mut self.data,
        }
    }

    fn contents(&self, place: Place, name: &str) -> Option<&Vec<u8>> {
        let folder = match place {
            Place::Esp => &self.esp,
            Place::Data => &self.data,
        };
        self.files.get(folder.get(name)?)
    }

    fn apply(&mut self, op: &Op, fate: Fate) {
        let cut = |bytes: &[u8]| if fate == Fate::Half { bytes.len() / 2 } else { bytes.len() };
        let journal = |place: Place| place == Place::Data;
        match op {
            _ if fate == Fate::Lost => {}
            Op::Partition { slot, offset, bytes } if fate != Fate::Neither => {
                let bytes = &bytes[..cut(bytes)];
                self.partitions[*slot as usize][*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            Op::Append { file, bytes } if fate != Fate::Neither => {
                self.files.entry(*file).or_default().extend_from_slice(&bytes[..cut(bytes)]);
            }
            Op::Create { place, name, file } if fate != Fate::Neither => {
                self.folder(*place).insert(name.clone(), *file);
                self.files.entry(*file).or_default();
            }
            Op::Rename { place, from, to } if fate == Fate::Done || !journal(*place) => {
                if let Some(file) = self.folder(*place).get(from).copied() {
                    if fate != Fate::Half {
                        self.folder(*place).remove(from);
                    }
                    if fate != Fate::Neither {
                        self.folder(*place).insert(to.clone(), file);
                    }
                }
            }
            Op::Remove { place, name } if fate == Fate::Done => {
                self.folder(*place).remove(name);
            }
            _ => {}
        }
    }
}

/// What a version is made of.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) image: Vec<u8>,
    pub(crate) uki: Vec<u8>,
}

impl Build {
    pub(crate) fn of(version: Version) -> &'static Build {
        static MADE: [OnceLock<Build>; 10] = [const { OnceLock::new() }; 10];
        let number = (1..10).find(|&number| super::world::version(number) == version).expect("a number");
        MADE[number as usize].get_or_init(|| Build::make(version))
    }

    fn make(version: Version) -> Build {
        let seed = version.to_string();
        let noise = |length: usize, salt: u8| -> Vec<u8> {
            seed.bytes()
                .chain([salt])
                .cycle()
                .zip(0..length)
                .map(|(byte, at)| byte ^ (at / 7) as u8)
                .collect()
        };
        Build { image: noise(600_321, 1), uki: noise(100_001, 2) }
    }
}

#[derive(Debug)]
struct Inner {
    durable: Disk,
    seen: Disk,
    pending: Vec<Op>,
    files: u64,
    writes: u64,
    cut: Option<u64>,
    dead: bool,
    esp_size: u64,
    data_full: bool,
    data_size: u64,
    busy: Option<Slot>,
    now: SystemTime,
    elapsed: Duration,
    anchor: Vec<u8>,
}

impl Inner {
    /// One more write, if there is power.
    fn write(&mut self, op: Option<Op>) -> io::Result<()> {
        self.writes += 1;
        self.dead |= self.cut == Some(self.writes);
        self.alive()?;
        if let Some(op) = op {
            self.seen.apply(&op, Fate::Done);
            self.pending.push(op);
        }
        Ok(())
    }

    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("there is no power")) } else { Ok(()) }
    }

    fn sync(&mut self, of: impl Fn(&Op) -> bool) -> io::Result<()> {
        self.write(None)?;
        for op in self.pending.extract_if(.., |op| of(op)) {
            self.durable.apply(&op, Fate::Done);
        }
        Ok(())
    }
}

/// A line of the boot loader's menu.
#[derive(Debug, Clone)]
struct Item {
    name: String,
    numbers: [u32; 3],
    /// Boots left and done.
    count: Option<(u32, u32)>,
}

impl Item {
    fn read(name: &str) -> Option<Item> {
        let stem = name.strip_suffix(".efi")?;
        let (id, count) = stem.split_once('+').map_or((stem, None), |(id, count)| (id, Some(count)));
        let number = |text: &str| text.parse::<u32>().expect("a number");
        let count = count.map(|count| count.split_once('-').unwrap_or((count, "0")));
        let numbers: Vec<u32> = id["nic-".len()..].split('.').map(number).collect();
        Some(Item {
            name: name.to_owned(),
            numbers: numbers.try_into().expect("three numbers"),
            count: count.map(|(left, done)| (number(left), number(done))),
        })
    }

    fn exhausted(&self) -> bool {
        self.count.is_some_and(|(left, _)| left == 0)
    }
}

/// The card's hardware: it outlives what runs on it.
#[derive(Debug, Clone)]
pub(crate) struct World(Arc<Mutex<Inner>>);

/// One boot of it.
#[derive(Debug)]
pub(crate) struct Booted {
    world: World,
    running: Running,
    esp: SimFolder,
    data: SimFolder,
}

pub(crate) fn version(number: u32) -> Version {
    Version::new(number, 0, 0)
}

impl World {
    /// A card that version 1 was flashed on, with a store at revision 5.
    pub(crate) fn flashed(anchor: Vec<u8>) -> World {
        let mut disk = Disk { partitions: [vec![0xee; PARTITION], vec![0xee; PARTITION]], ..Disk::default() };
        let build = Build::of(version(1));
        disk.partitions[0][..build.image.len()].copy_from_slice(&build.image);
        disk.files = BTreeMap::from([
            (1, build.uki.clone()),
            (2, b"format 1 revision 5".to_vec()),
            (3, b"theirs".to_vec()),
        ]);
        disk.esp = BTreeMap::from([("nic-1.0.0.efi".to_owned(), 1), ("shim.bin".to_owned(), 3)]);
        disk.data = BTreeMap::from([(STORE.to_owned(), 2)]);
        World(Arc::new(Mutex::new(Inner {
            seen: disk.clone(),
            durable: disk,
            pending: Vec::new(),
            files: 3,
            writes: 0,
            cut: None,
            dead: false,
            esp_size: ESP,
            data_full: false,
            data_size: u64::MAX,
            busy: None,
            now: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            elapsed: Duration::ZERO,
            anchor,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("not poisoned")
    }

    /// Writes so far.
    pub(crate) fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// Takes the power away at a write from now on.
    pub(crate) fn cut_at(&self, write: Option<u64>) {
        let mut inner = self.lock();
        inner.cut = write.map(|write| inner.writes + write);
    }

    pub(crate) fn has_power(&self) -> bool {
        !self.lock().dead
    }

    /// Power is back: of what was not synced, there is what `fate` says.
    pub(crate) fn power_returns(&self, mut fate: impl FnMut() -> Fate) {
        let mut inner = self.lock();
        for op in std::mem::take(&mut inner.pending) {
            inner.durable.apply(&op, fate());
        }
        inner.seen = inner.durable.clone();
        (inner.dead, inner.cut) = (false, None);
    }

    /// An ordinary reboot, which syncs all.
    pub(crate) fn shut_down(&self) {
        self.power_returns(|| Fate::Done);
    }

    pub(crate) fn set_now(&self, seconds: u64) {
        self.lock().now = UNIX_EPOCH + Duration::from_secs(seconds);
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.lock().elapsed += time;
    }

    pub(crate) fn shrink_esp(&self, octets: u64) {
        self.lock().esp_size = octets;
    }

    pub(crate) fn shrink_data(&self, octets: u64) {
        self.lock().data_size = octets;
    }

    pub(crate) fn fill_data(&self) {
        self.lock().data_full = true;
    }

    pub(crate) fn occupy(&self, slot: Slot) {
        self.lock().busy = Some(slot);
    }

    pub(crate) fn partition(&self, slot: Slot) -> Vec<u8> {
        self.lock().seen.partitions[slot as usize].clone()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().seen.esp.keys().cloned().collect()
    }

    pub(crate) fn data_names(&self) -> Vec<String> {
        self.lock().seen.data.keys().cloned().collect()
    }

    /// What the store is.
    pub(crate) fn store(&self) -> String {
        let inner = self.lock();
        let bytes = inner.seen.contents(Place::Data, STORE).cloned().unwrap_or_default();
        String::from_utf8(bytes).expect("text")
    }

    /// Somebody damages a file of the data folder.
    pub(crate) fn damage(&self, name: &str) {
        let mut inner = self.lock();
        for disk in 0..2 {
            let disk = if disk == 0 { &mut inner.durable } else { &mut inner.seen };
            let file = disk.data[name];
            disk.files.insert(file, b"{".to_vec());
        }
    }

    /// Somebody changes a file of the data folder.
    pub(crate) fn change(&self, name: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut inner = self.lock();
        for disk in 0..2 {
            let disk = if disk == 0 { &mut inner.durable } else { &mut inner.seen };
            let file = disk.data[name];
            change(disk.files.get_mut(&file).expect("a file"));
        }
    }

    /// Somebody gives a file of the data folder another name.
    pub(crate) fn rename(&self, from: &str, to: &str) {
        let mut inner = self.lock();
        for disk in 0..2 {
            let disk = if disk == 0 { &mut inner.durable } else { &mut inner.seen };
            let file = disk.data.remove(from).expect("a file");
            disk.data.insert(to.to_owned(), file);
        }
    }

    /// Whoever runs writes the store, durably and whole, as the real one does.
    pub(crate) fn write_store(&self, format: u32, revision: u64) {
        let mut inner = self.lock();
        inner.files += 1;
        let file = inner.files;
        let bytes = format!("format {format} revision {revision}").into_bytes();
        for disk in 0..2 {
            let disk = if disk == 0 { &mut inner.durable } else { &mut inner.seen };
            disk.data.insert(STORE.to_owned(), file);
            disk.files.insert(file, bytes.clone());
        }
    }

    /// The boot loader, again and again until something runs that `works`.
    pub(crate) fn boot(&self, works: impl Fn(Version) -> bool) -> Booted {
        for _ in 0..12 {
            let (name, counted) = self.choose();
            let Some(running) = self.start(&name) else {
                assert!(counted, "{name} does not boot, and nothing would try another: {:?}", self.names());
                continue;
            };
            if !works(running.version) {
                assert!(counted, "{name} does not work, and nothing would try another: {:?}", self.names());
                continue;
            }
            let folder = |place| SimFolder { world: self.clone(), place };
            return Booted {
                world: self.clone(),
                running,
                esp: folder(Place::Esp),
                data: folder(Place::Data),
            };
        }
        panic!("nothing boots: {:?}", self.names());
    }

    /// As systemd-boot sorts its menu: what has no boots left at the end, the newest first. It writes a count
    /// into the name before it starts what has one.
    fn choose(&self) -> (String, bool) {
        let mut inner = self.lock();
        let mut menu: Vec<Item> = inner.seen.esp.keys().filter_map(|name| Item::read(name)).collect();
        menu.sort_by_key(|item| (item.exhausted(), std::cmp::Reverse(item.numbers), item.name.clone()));
        let item = menu.first().expect("an entry").clone();
        let Some((left, done)) = item.count.filter(|&(left, _)| left > 0) else {
            return (item.name, item.count.is_some());
        };
        let stem = item.name.rsplit_once('+').expect("a count").0;
        let counted = format!("{stem}+{}-{}.efi", left - 1, done + 1);
        let rename = Op::Rename { place: Place::Esp, from: item.name, to: counted.clone() };
        inner.durable.apply(&rename, Fate::Done);
        inner.seen.apply(&rename, Fate::Done);
        (counted, true)
    }

    /// The firmware checks the whole entry, and dm-verity every block of the image that it names.
    fn start(&self, name: &str) -> Option<Running> {
        let inner = self.lock();
        let numbers = name["nic-".len()..].split(['+', '-']).next()?.trim_end_matches(".efi");
        let version: Version = numbers.parse().expect("a version");
        let build = Build::of(version);
        if inner.seen.contents(Place::Esp, name) != Some(&build.uki) {
            return None;
        }
        let has = |slot: &Slot| inner.seen.partitions[*slot as usize].starts_with(&build.image);
        let slot = [Slot::A, Slot::B].into_iter().find(has)?;
        Some(Running { slot, version, board: BOARD.to_owned() })
    }
}

impl Booted {
    pub(crate) fn version(&self) -> Version {
        self.running.version
    }
}

impl Card for Booted {
    fn running(&self) -> &Running {
        &self.running
    }

    fn open(&self, slot: Slot) -> io::Result<Box<dyn Partition>> {
        let busy = self.world.lock().busy;
        if slot == self.running.slot || busy == Some(slot) {
            return Err(ErrorKind::ResourceBusy.into());
        }
        Ok(Box::new(SimPartition { world: self.world.clone(), slot }))
    }

    fn esp(&self) -> &dyn Folder {
        &self.esp
    }

    fn data(&self) -> &dyn Folder {
        &self.data
    }

    fn anchor(&self) -> io::Result<Vec<u8>> {
        Ok(self.world.lock().anchor.clone())
    }

    fn now(&self) -> SystemTime {
        self.world.lock().now
    }

    fn elapsed(&self) -> Duration {
        self.world.lock().elapsed
    }

    fn copy_store(&self, name: &str) -> io::Result<u64> {
        let store = self.world.store();
        let mut file = self.data.create(name)?;
        file.write(store.as_bytes())?;
        file.sync()?;
        Ok(self.revision())
    }

    fn revision(&self) -> u64 {
        // Nothing is there after a reset until something is configured.
        self.world.store().rsplit(' ').next().and_then(|revision| revision.parse().ok()).unwrap_or(0)
    }
}

struct SimPartition {
    world: World,
    slot: Slot,
}

impl Partition for SimPartition {
    fn size(&self) -> io::Result<u64> {
        Ok(PARTITION as u64)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("small");
        assert!(offset + bytes.len() <= PARTITION, "a write behind the partition's end");
        self.world.lock().write(Some(Op::Partition { slot: self.slot, offset, bytes: bytes.to_vec() }))
    }

    fn sync(&mut self) -> io::Result<()> {
        let slot = self.slot;
        self.world.lock().sync(|op| matches!(op, Op::Partition { slot: of, .. } if *of == slot))
    }
}

#[derive(Debug)]
struct SimFolder {
    world: World,
    place: Place,
}

impl Folder for SimFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut inner = self.world.lock();
        inner.alive()?;
        Ok(inner.seen.folder(self.place).keys().cloned().collect())
    }

    fn free(&self) -> io::Result<u64> {
        let mut inner = self.world.lock();
        inner.alive()?;
        let size = if self.place == Place::Esp { inner.esp_size } else { inner.data_size };
        let names: Vec<String> = inner.seen.folder(self.place).keys().cloned().collect();
        let used: usize =
            names.iter().filter_map(|name| inner.seen.contents(self.place, name)).map(Vec::len).sum();
        Ok(size.saturating_sub(used as u64))
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        let inner = self.world.lock();
        inner.alive()?;
        inner
            .seen
            .contents(self.place, name)
            .map(|bytes| bytes.len() as u64)
            .ok_or(ErrorKind::NotFound.into())
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let inner = self.world.lock();
        inner.alive()?;
        Ok(inner.seen.contents(self.place, name).cloned())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Output>> {
        let mut inner = self.world.lock();
        inner.files += 1;
        let file = inner.files;
        inner.write(Some(Op::Create { place: self.place, name: name.to_owned(), file }))?;
        Ok(Box::new(SimFile { world: self.world.clone(), place: self.place, file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.world.lock();
        if inner.seen.contents(self.place, from).is_none() {
            return Err(ErrorKind::NotFound.into());
        }
        inner.write(Some(Op::Rename { place: self.place, from: from.to_owned(), to: to.to_owned() }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.world.lock().write(Some(Op::Remove { place: self.place, name: name.to_owned() }))
    }

    fn sync(&self) -> io::Result<()> {
        let at = self.place;
        self.world.lock().sync(|op| match op {
            Op::Create { place, .. } | Op::Rename { place, .. } | Op::Remove { place, .. } => *place == at,
            Op::Partition { .. } | Op::Append { .. } => false,
        })
    }
}

struct SimFile {
    world: World,
    place: Place,
    file: u64,
}

impl Output for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.world.lock();
        if self.place == Place::Data && inner.data_full {
            return Err(ErrorKind::StorageFull.into());
        }
        inner.write(Some(Op::Append { file: self.file, bytes: bytes.to_vec() }))
    }

    fn sync(&mut self) -> io::Result<()> {
        let file = self.file;
        self.world.lock().sync(|op| matches!(op, Op::Append { file: of, .. } if *of == file))
    }
}
