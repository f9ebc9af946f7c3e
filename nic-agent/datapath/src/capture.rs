//! A capture of what the representors give to the slow path, as pcapng (draft-ietf-opsawg-pcapng):
//! tcpdump and Wireshark read it. Each port is an interface of its own name.
//!
//! The worker writes it, so it costs what writing costs: a help for those who look for a packet, not for
//! every day.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nic_flow::PortId;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const LINKTYPE_ETHERNET: u16 = 1;
/// The option that gives an interface its name.
const IF_NAME: u16 = 2;

/// The file.
pub(crate) struct Capture {
    out: BufWriter<File>,
    /// Something was written since the last flush.
    dirty: bool,
    /// Writing failed, and the log says so.
    failed: bool,
}

impl Capture {
    /// Begins a file with these ports as its interfaces, numbered in this order.
    pub(crate) fn create(path: &Path, ports: &[PortId]) -> io::Result<Capture> {
        let mut out = BufWriter::new(File::create(path)?);
        let mut section = Vec::new();
        section.extend(0x1a2b_3c4d_u32.to_ne_bytes());
        section.extend(1_u16.to_ne_bytes());
        section.extend(0_u16.to_ne_bytes());
        section.extend(u64::MAX.to_ne_bytes());
        block(&mut out, SECTION_HEADER, &section)?;
        for port in ports {
            let name = port.to_string();
            let mut interface = Vec::new();
            interface.extend(LINKTYPE_ETHERNET.to_ne_bytes());
            interface.extend([0; 2]);
            // Frames are never cut.
            interface.extend(0_u32.to_ne_bytes());
            interface.extend(IF_NAME.to_ne_bytes());
            interface.extend((name.len() as u16).to_ne_bytes());
            interface.extend(name.as_bytes());
            interface.resize(interface.len().next_multiple_of(4), 0);
            // The end of the options.
            interface.extend([0; 4]);
            block(&mut out, INTERFACE, &interface)?;
        }
        out.flush()?;
        Ok(Capture { out, dirty: false, failed: false })
    }

    /// Writes a frame that a port gave, now.
    pub(crate) fn frame(&mut self, interface: u32, bytes: &[u8]) {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        let length = (bytes.len() as u32).to_ne_bytes();
        let mut packet = Vec::with_capacity(24 + bytes.len());
        packet.extend(interface.to_ne_bytes());
        packet.extend(((micros >> 32) as u32).to_ne_bytes());
        packet.extend((micros as u32).to_ne_bytes());
        packet.extend(length);
        packet.extend(length);
        packet.extend(bytes);
        packet.resize(packet.len().next_multiple_of(4), 0);
        self.dirty = true;
        let written = block(&mut self.out, PACKET, &packet);
        self.check(written);
    }

    /// Lets readers see what was written.
    pub(crate) fn flush(&mut self) {
        if self.dirty {
            self.dirty = false;
            let flushed = self.out.flush();
            self.check(flushed);
        }
    }

    /// A full disk ends the capture, never the forwarding.
    fn check(&mut self, result: io::Result<()>) {
        if let Err(error) = result
            && !self.failed
        {
            self.failed = true;
            tracing::warn!(%error, "the capture is incomplete");
        }
    }
}

fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let length = (12 + body.len() as u32).to_ne_bytes();
    out.write_all(&kind.to_ne_bytes())?;
    out.write_all(&length)?;
    out.write_all(body)?;
    out.write_all(&length)
}
