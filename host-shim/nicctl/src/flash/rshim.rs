//! rshim, by which a host or a BMC reaches a BlueField: files in one directory.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write};
use std::path::PathBuf;

/// More than the driver ever says at once.
const LONGEST: usize = 64 * 1024;

/// A card, as rshim has it.
pub(super) trait Rshim: Send + Sync {
    /// Opens `boot`. That resets the card, which then waits for what is written.
    fn open_boot(&self) -> io::Result<Box<dyn Write + Send>>;

    /// What `misc` says: settings of the driver, and the card's log if it is to be shown.
    fn state(&self) -> io::Result<String>;

    /// Writes one setting to `misc`.
    fn set(&self, name: &str, value: u32) -> io::Result<()>;
}

/// The driver's directory, such as `/dev/rshim0`.
#[derive(Debug)]
pub(super) struct Directory(pub(super) PathBuf);

impl Rshim for Directory {
    fn open_boot(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(OpenOptions::new().write(true).open(self.0.join("boot"))?))
    }

    fn state(&self) -> io::Result<String> {
        let mut file = OpenOptions::new().read(true).open(self.0.join("misc"))?;
        // The driver answers the first read of an open file, and no other: a read that is too small for the
        // answer, such as those by which `fs::read` feels its way, loses the rest.
        let mut text = vec![0; LONGEST];
        let read = file.read(&mut text)?;
        Ok(String::from_utf8_lossy(&text[..read]).into_owned())
    }

    fn set(&self, name: &str, value: u32) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(self.0.join("misc"))?;
        // In one write: the driver takes each for a whole setting.
        let line = format!("{name} {value}\n");
        match file.write(line.as_bytes())? {
            written if written == line.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}
