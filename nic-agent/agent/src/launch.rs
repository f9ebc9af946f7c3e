//! Which nic-agent a start runs. `--launch` is for the unit of the image: the image's own program looks for a
//! newer one in the data folder, and becomes that.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nic_update::{Beside, Folders, Launch, Version, launch};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::options::Options;

/// The option that says that the image's own program starts.
const LAUNCH: &str = "--launch";
/// The option by which the program that it becomes knows its version.
const LAUNCHED: &str = "--launched";

/// Becomes the program that a start is to run; returns if that is this one.
pub(crate) fn become_best(options: &Options, slots: &Folders) {
    let chosen = launch(slots).unwrap_or_else(|error| {
        tracing::error!(%error, "no other nic-agent is looked for; the image's own goes on");
        Launch::Image
    });
    let name = match &chosen {
        Launch::Image => "image".to_owned(),
        Launch::Beside { beside, .. } => beside.to_string(),
    };
    // Whoever watches over trials from outside goes by it.
    if let Err(error) = std::fs::write(note(options), format!("{name}\n")) {
        tracing::warn!(%error, "it is not written down which nic-agent was started");
    }
    if let Launch::Beside { beside, program } = chosen {
        let Err(error) = replace(&beside, &program);
        tracing::error!(%error, name = %beside, "it does not start; the image's own goes on");
    }
}

/// Where it stands what was started.
fn note(options: &Options) -> PathBuf {
    options.reboot_request.with_file_name("launched")
}

/// Becomes a program that was verified where it is now, in memory, where nobody changes it any more.
fn replace(beside: &Beside, program: &[u8]) -> io::Result<Infallible> {
    let mut file: File = memfd_create("nic-agent", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into();
    file.write_all(program)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    tracing::info!(version = %beside.version, "nic-agent becomes the one that was installed alone");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let arguments = passed_on(std::env::args_os().skip(1), beside.version);
    Err(Command::new(Path::new(&path)).arg0("nic-agent").args(arguments).exec())
}

/// The command line of the program that this one becomes.
fn passed_on(arguments: impl Iterator<Item = OsString>, version: Version) -> Vec<OsString> {
    let others = arguments.filter(|argument| argument != LAUNCH);
    others.chain([LAUNCHED.into(), version.to_string().into()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_knows_its_version_and_starts_nothing() {
        let given = ["--launch", "--slots", "/run/nic/slots"].map(OsString::from);
        let passed = passed_on(given.into_iter(), Version::new(1, 2, 7));
        assert_eq!(passed, ["--slots", "/run/nic/slots", "--launched", "1.2.7"]);
    }
}
