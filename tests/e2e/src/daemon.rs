//! A process of the card or of the host that runs until it is stopped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{LabError, Log};
use crate::{run, sweep};

/// Lines of a log that are shown.
const TAIL: usize = 25;

/// A process with its log.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    child: Child,
    log: PathBuf,
    keep: bool,
}

impl Daemon {
    /// Starts it; what it prints is added to `LOGS/NAME.log`.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        logs: &Path,
        keep: bool,
    ) -> Result<Daemon, LabError> {
        sweep::stop_if_ending();
        let log = logs.join(format!("{name}.log"));
        let open = || File::options().create(true).append(true).open(&log);
        let file = open().map_err(LabError::io(format!("opening {}", log.display())))?;
        let errors = file.try_clone().map_err(LabError::io(format!("opening {}", log.display())))?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = command.spawn().map_err(run::start_error(&command))?;
        Ok(Daemon { name, child, log, keep })
    }

    /// Its process id: `ip netns exec` and `setpriv` become the program that they start.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> Log {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        Log(lines[lines.len().saturating_sub(TAIL)..].join("\n"))
    }

    /// The whole log.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails if it has ended.
    pub fn check(&mut self) -> Result<(), LabError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(LabError::Ended { name: self.name.into(), status, log: self.log_tail() }),
            Err(source) => Err(LabError::Io { what: format!("waiting for {}", self.name), source }),
        }
    }

    /// Kills it without a warning.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits for that.
    pub fn terminate(&mut self) -> Result<ExitStatus, LabError> {
        let failed = || format!("stopping {}", self.name);
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, Signal::SIGTERM).map_err(|error| LabError::io(failed())(error.into()))?;
        for _ in 0..500 {
            if let Some(status) = self.child.try_wait().map_err(LabError::io(failed()))? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let limit = Duration::from_secs(5);
        Err(LabError::Late {
            what: format!("the end of {}", self.name),
            limit,
            last: self.log_tail().to_string(),
        })
    }

    /// CPU time that it has used, over all its threads.
    pub fn cpu_time(&self) -> Result<Duration, LabError> {
        let folder = format!("/proc/{}/task", self.pid());
        let tasks = fs::read_dir(&folder).map_err(LabError::io(format!("reading {folder}")))?;
        let mut nanos = 0;
        for task in tasks.flatten() {
            // A thread that ends meanwhile is no matter: the shim has one.
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            nanos += text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// The same when it has come to rest: a call that was answered still has its connection closed.
    pub fn idle_cpu_time(&self) -> Result<Duration, LabError> {
        let mut last = self.cpu_time()?;
        for _ in 0..50 {
            std::thread::sleep(Duration::from_millis(100));
            let next = self.cpu_time()?;
            if next == last {
                break;
            }
            last = next;
        }
        Ok(last)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.keep {
            self.kill();
        }
    }
}
