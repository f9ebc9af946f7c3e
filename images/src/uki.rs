//! One file for the firmware: the stub of systemd, with kernel, initramfs and command line in sections
//! of it, and one signature over all of them.

use std::fs;
use std::path::Path;

use crate::error::ImageError;
use crate::tool;

/// For arm64, on whatever machine this runs.
const OBJCOPY: &str = "aarch64-linux-gnu-objcopy";
const OBJDUMP: &str = "aarch64-linux-gnu-objdump";

/// Sections begin at multiples of it: the largest page that an arm64 kernel may have.
const ALIGNMENT: u64 = 64 * 1024;

/// What a UKI is made of.
pub(crate) struct Uki<'a> {
    /// `linuxaa64.efi.stub`.
    pub(crate) stub: &'a Path,
    /// The kernel.
    pub(crate) kernel: &'a Path,
    /// The first file system.
    pub(crate) initramfs: &'a Path,
    /// Name and version, by which the boot loader sorts.
    pub(crate) os_release: &'a str,
    /// The kernel's command line.
    pub(crate) command_line: &'a str,
    /// The time that its header says, in seconds.
    pub(crate) epoch: u64,
}

impl Uki<'_> {
    /// Writes it, not signed yet.
    pub(crate) fn write(&self, path: &Path) -> Result<(), ImageError> {
        let beside = |suffix: &str| path.with_extension(suffix);
        let (release, line) = (beside("osrel"), beside("cmdline"));
        fs::write(&release, self.os_release).map_err(ImageError::file("writing", &release))?;
        fs::write(&line, self.command_line).map_err(ImageError::file("writing", &line))?;
        let sections: [(&str, &Path); 4] =
            [(".osrel", &release), (".cmdline", &line), (".linux", self.kernel), (".initrd", self.initramfs)];
        let mut address = end(&tool::text(tool::tool(OBJDUMP).arg("-h").arg(self.stub))?)
            .ok_or_else(|| ImageError::Printed { program: OBJDUMP, printed: "no sections".into() })?;
        let mut command = at(self.epoch);
        command.arg(OBJCOPY);
        for (name, file) in sections {
            address = address.next_multiple_of(ALIGNMENT);
            command.arg("--add-section").arg(format!("{name}={}", file.display()));
            command.arg("--change-section-vma").arg(format!("{name}={address:#x}"));
            address += fs::metadata(file).map_err(ImageError::file("reading", file))?.len();
        }
        tool::run(command.arg(self.stub).arg(path))?;
        for file in [release, line] {
            fs::remove_file(&file).map_err(ImageError::file("removing", &file))?;
        }
        Ok(())
    }
}

/// Runs what follows at that time: objcopy and sbsign write down when they ran, and have no word for another
/// time.
fn at(epoch: u64) -> std::process::Command {
    let mut command = tool::tool("faketime");
    command.env("FAKETIME_FMT", "%s").args(["-f", &epoch.to_string()]);
    command
}

/// Where the last section ends, by objdump's list.
fn end(text: &str) -> Option<u64> {
    let section = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let _: usize = words.first()?.parse().ok()?;
        let of = |word: usize| u64::from_str_radix(words.get(word)?, 16).ok();
        Some(of(2)? + of(3)?)
    };
    text.lines().filter_map(section).max()
}

/// A key and its certificate, in PEM.
#[derive(Debug, Clone)]
pub struct Signer {
    /// The private key.
    pub key: std::path::PathBuf,
    /// The certificate.
    pub certificate: std::path::PathBuf,
}

impl Signer {
    /// Signs a program of the firmware. The time that a signature says is the given one, in seconds, so
    /// that it is the same each time.
    pub(crate) fn sign(&self, program: &Path, signed: &Path, epoch: u64) -> Result<(), ImageError> {
        let mut command = at(epoch);
        command.arg("sbsign").arg("--key").arg(&self.key).arg("--cert").arg(&self.certificate);
        Ok(tool::run(command.arg("--output").arg(signed).arg(program))?)
    }

    /// The key that everybody has: made when it is first needed, in the cache.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn for_tests(cache: &Path) -> Result<Signer, ImageError> {
        let folder = cache.join("test-key");
        let signer = Signer { key: folder.join("key.pem"), certificate: folder.join("certificate.pem") };
        if !signer.certificate.exists() {
            fs::create_dir_all(&folder).map_err(ImageError::file("making", &folder))?;
            let mut command = tool::tool("openssl");
            command.args(["req", "-x509", "-newkey", "rsa:3072", "-sha256", "-nodes", "-days", "36500"]);
            command.args(["-subj", "/CN=nic-agent TEST KEY, trust it nowhere/"]);
            let new = folder.join("certificate.new");
            tool::run(command.arg("-keyout").arg(&signer.key).arg("-out").arg(&new))?;
            fs::rename(&new, &signer.certificate)
                .map_err(ImageError::file("writing", &signer.certificate))?;
        }
        Ok(signer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sections_end_is_read_off_objdump() {
        let text = "\
linuxaa64.efi.stub:     file format pei-aarch64-little

Sections:
Idx Name          Size      VMA               LMA               File off  Algn
  0 .text         0000a000  0000000000001000  0000000000001000  00000400  2**12
                  CONTENTS, ALLOC, LOAD, READONLY, CODE
  1 .data         00002000  000000000000b000  000000000000b000  0000a400  2**12
  2 .sbat         00000100  000000000000e000  000000000000e000  0000c400  2**2
";
        assert_eq!(end(text), Some(0xe100));
        assert_eq!(end("nothing"), None);
    }
}
