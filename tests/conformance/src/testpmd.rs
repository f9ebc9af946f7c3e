//! dpdk-testpmd on a terminal.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::openpty;

const PROMPT: &str = "testpmd> ";
/// The longest that a command, or the start, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running testpmd that has loaded the driver.
#[derive(Debug)]
pub struct Testpmd {
    child: Child,
    terminal: File,
    output: Receiver<Vec<u8>>,
    /// What was read and not yet handed out.
    pending: String,
}

/// Why testpmd is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TestpmdError {
    /// The program is not installed.
    #[error("dpdk-testpmd does not start ({0}); run `cargo xtask setup`")]
    Missing(io::Error),
    /// The loadable driver is not where cargo builds it.
    #[error("{0} is not there: build the net-eswitch crate first")]
    NoDriver(PathBuf),
    /// No terminal is to be had.
    #[error("no terminal: {0}")]
    Terminal(#[from] io::Error),
    /// It ended, or does not answer.
    #[error("testpmd {what} after:\n{output}")]
    Silent {
        /// What it does instead.
        what: &'static str,
        /// What it said last.
        output: String,
    },
}

/// The loadable driver that cargo built beside the running test.
fn driver() -> Result<PathBuf, TestpmdError> {
    let deps = std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default();
    let driver = deps.join("libnet_eswitch.so");
    if driver.is_file() { Ok(driver) } else { Err(TestpmdError::NoDriver(driver)) }
}

impl Testpmd {
    /// Starts testpmd with virtual devices, in a network namespace if one is named, and waits for its
    /// first prompt. `options` are testpmd's own.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(
        namespace: Option<&str>,
        devices: &[&str],
        options: &[&str],
    ) -> Result<Testpmd, TestpmdError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let driver = driver()?;
        let mut command = match namespace {
            None => Command::new("dpdk-testpmd"),
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name, "dpdk-testpmd"]);
                command
            }
        };
        command
            .args(["-l", "0-1", "--no-huge", "-m", "256", "--no-pci", "--no-shconf", "--no-telemetry"])
            .args(["--iova-mode=va", &format!("--file-prefix=conformance-{}-{number}", std::process::id())])
            // EAL refuses a path below a directory that all may write to, and does not ask that of a
            // name which the dynamic linker finds.
            .args(["-d", "libnet_eswitch.so"])
            .env("LD_LIBRARY_PATH", driver.parent().unwrap_or(Path::new(".")))
            .args(devices.iter().map(|device| format!("--vdev={device}")))
            .args(["--", "-i", "--total-num-mbufs=4096"])
            .args(options);
        Testpmd::on_terminal(command)
    }

    fn on_terminal(mut command: Command) -> Result<Testpmd, TestpmdError> {
        let pty = openpty(None, None).map_err(io::Error::from)?;
        let slave = File::from(pty.slave);
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        let child = command.spawn().map_err(TestpmdError::Missing)?;
        // The command keeps the terminal's far end open; without it, the reader sees the program's end.
        drop(command);
        let terminal = File::from(pty.master);
        let mut reader = terminal.try_clone()?;
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal whose far end is closed answers with an error.
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut testpmd = Testpmd { child, terminal, output, pending: String::new() };
        testpmd.until_prompt()?;
        Ok(testpmd)
    }

    /// Types a command and returns what it printed.
    ///
    /// # Errors
    /// If testpmd ended or hangs.
    pub fn run(&mut self, command: &str) -> Result<String, TestpmdError> {
        writeln!(self.terminal, "{command}")?;
        let said = self.until_prompt()?;
        // The first line is the echo of the command.
        Ok(said.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned()))
    }

    /// Leaves testpmd; its exit status must be 0.
    ///
    /// # Errors
    /// If it does not end, or not well.
    pub fn quit(mut self) -> Result<String, TestpmdError> {
        writeln!(self.terminal, "quit")?;
        let end = Instant::now() + PATIENCE;
        loop {
            match self.output.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.pending.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return Err(self.silent("did not end")),
            }
        }
        if self.child.wait()?.success() {
            Ok(std::mem::take(&mut self.pending))
        } else {
            Err(self.silent("ended badly"))
        }
    }

    fn until_prompt(&mut self) -> Result<String, TestpmdError> {
        let end = Instant::now() + PATIENCE;
        loop {
            // The echo of a command stands behind a prompt too, on the same line.
            if let Some(at) = self.pending.rfind(PROMPT)
                && at + PROMPT.len() == self.pending.len()
            {
                let mut said = std::mem::take(&mut self.pending);
                said.truncate(at);
                return Ok(plain(&said));
            }
            match self.output.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.pending.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Disconnected) => return Err(self.silent("ended")),
                Err(RecvTimeoutError::Timeout) => return Err(self.silent("does not answer")),
            }
        }
    }

    fn silent(&mut self, what: &'static str) -> TestpmdError {
        TestpmdError::Silent { what, output: std::mem::take(&mut self.pending) }
    }
}

/// The text without carriage returns and the control sequences of a line editor.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\r' => {}
            '\x1b' => {
                // ESC [ parameters letter
                rest.by_ref().skip_while(|c| *c == '[').find(char::is_ascii_alphabetic);
            }
            _ => out.push(c),
        }
    }
    out
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        // After `quit` there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
