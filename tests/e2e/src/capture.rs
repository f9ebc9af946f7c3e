//! Frames as they come in at an interface, by tcpdump: it puts back the VLAN tags that a packet
//! socket hides.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::LabError;
use crate::{run, sweep};

/// A capture that runs.
#[derive(Debug)]
pub struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    /// Starts tcpdump, and waits until it listens. The command is what starts tcpdump.
    pub(crate) fn start(mut command: Command, interface: &str, file: &Path) -> Result<Capture, LabError> {
        sweep::stop_if_ending();
        // Room for a burst (in KiB): what tcpdump's usual buffer has no room for, it does not see.
        command
            .args(["-B", "16384", "-i", interface, "-Q", "in", "--immediate-mode", "-U", "-n", "-w"])
            .arg(file);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(run::start_error(&command))?;
        let mut text = String::new();
        for line in child.stderr.take().into_iter().flat_map(|errors| BufReader::new(errors).lines()) {
            let line = line.map_err(LabError::io("reading from tcpdump"))?;
            if line.contains("listening on") {
                return Ok(Capture { child, file: file.to_owned() });
            }
            text += &line;
        }
        let _ = child.wait();
        Err(LabError::Output {
            command: run::describe(&command),
            output: text,
            why: "it does not listen".into(),
        })
    }

    /// Waits until so many frames came, or until the time is over; gives those that came.
    pub fn finish(mut self, frames: usize, limit: Duration) -> Result<Vec<Vec<u8>>, LabError> {
        let start = Instant::now();
        let found = loop {
            let bytes = fs::read(&self.file).map_err(LabError::io("reading a capture"))?;
            let found = parse(&bytes);
            if found.len() >= frames || start.elapsed() > limit {
                break found;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let _ = self.child.kill();
        Ok(found)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.file);
    }
}

/// The whole frames of a capture file as this machine writes it.
fn parse(bytes: &[u8]) -> Vec<Vec<u8>> {
    const FILE_HEADER: usize = 24;
    const RECORD_HEADER: usize = 16;
    let mut rest = bytes.get(FILE_HEADER..).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some((header, behind)) = rest.split_at_checked(RECORD_HEADER) {
        let length = header[8..12].try_into().map_or(0, u32::from_ne_bytes) as usize;
        let Some((frame, next)) = behind.split_at_checked(length) else { break };
        frames.push(frame.to_vec());
        rest = next;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_frames_are_read_and_a_torn_one_is_left() {
        let record = |data: &[u8]| {
            let length = (data.len() as u32).to_ne_bytes();
            [&[0; 8][..], &length, &length, data].concat()
        };
        let bytes = [vec![0; 24], record(b"one"), record(b"three")].concat();
        assert_eq!(parse(&bytes), [b"one".to_vec(), b"three".to_vec()]);
        assert_eq!(parse(&bytes[..bytes.len() - 1]), [b"one".to_vec()]);
        assert!(parse(&[]).is_empty());
    }
}
