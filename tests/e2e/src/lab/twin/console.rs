//! The machine's console: what it wrote there, and the shell that an image of the test profile has on it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::LOOK;
use crate::error::LabError;
use crate::lab::Lab;

/// How long a line may take in the shell.
const WORD: Duration = Duration::from_secs(300);
/// How often a shell is greeted that does not answer.
const GREETING: Duration = Duration::from_secs(5);
/// Lines that are shown of what it wrote.
const TAIL: usize = 60;
/// What the firmware begins every boot with.
const FIRMWARE: &str = "UEFI firmware (version";

impl Lab {
    /// All that the machine wrote on its console, over all its boots.
    pub fn console_text(&self) -> String {
        let text = fs::read(self.folder.join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&text).replace('\r', "")
    }

    /// The end of that.
    pub fn console_tail(&self) -> String {
        let text = self.console_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// How often it was started, whoever wanted that.
    pub fn boots(&self) -> usize {
        self.console_text().matches(FIRMWARE).count()
    }

    /// What it wrote since its boot of that number began; the first is 1.
    pub fn console_of_boot(&self, number: usize) -> String {
        let text = self.console_text();
        let starts: Vec<usize> = text.match_indices(FIRMWARE).map(|(at, _)| at).collect();
        let from = number.checked_sub(1).and_then(|index| starts.get(index)).copied();
        let to = starts.get(number).copied().unwrap_or(text.len());
        from.map(|from| text[from..to].to_owned()).unwrap_or_default()
    }

    /// Waits until it boots for that time.
    pub fn await_boot(&mut self, number: usize, limit: Duration) -> Result<(), LabError> {
        self.await_machine(&format!("boot {number}"), limit, |lab| {
            let boots = lab.boots();
            Ok(if boots >= number { Ok(()) } else { Err(format!("{boots} boots")) })
        })
    }

    /// Waits for a text on its console, since its boot of that number began.
    pub fn await_words(&mut self, boot: usize, words: &str, limit: Duration) -> Result<(), LabError> {
        self.await_machine(&format!("{words:?} on the console"), limit, |lab| {
            let found = lab.console_of_boot(boot).contains(words);
            Ok(if found { Ok(()) } else { Err(lab.console_tail()) })
        })
    }

    /// Waits for what the machine does; it must go on running meanwhile.
    pub(crate) fn await_machine(
        &mut self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut(&mut Lab) -> Result<Result<(), String>, LabError>,
    ) -> Result<(), LabError> {
        self.until_at(LOOK, what, limit, |lab| {
            lab.machine().check()?;
            holds(lab)
        })
    }

    /// Runs a line in the shell on the console, which an image of the test profile has; gives what it
    /// printed.
    pub fn shell(&mut self, line: &str) -> Result<String, LabError> {
        let failed = || LabError::io("speaking to the console");
        let mut stream = UnixStream::connect(self.folder.join("console.sock")).map_err(failed())?;
        stream.set_read_timeout(Some(LOOK)).map_err(failed())?;
        // A shell that is not there yet hears nothing: it is greeted until it answers.
        let start = Instant::now();
        while between(&mut stream, "true", GREETING)?.is_none() {
            if start.elapsed() > WORD {
                let (what, last) = ("an answer of the console's shell".into(), self.console_tail());
                return Err(LabError::Late { what, limit: WORD, last });
            }
        }
        between(&mut stream, line, WORD)?.ok_or_else(|| LabError::Late {
            what: format!("an answer to `{line}` on the console"),
            limit: WORD,
            last: self.console_tail(),
        })
    }
}

/// Has the shell run a line, and gives what it printed if it came to its end in time.
fn between(stream: &mut UnixStream, line: &str, limit: Duration) -> Result<Option<String>, LabError> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let failed = || LabError::io("speaking to the console");
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // What the line itself is echoed as has no such words in it.
    let sent = format!("\nprintf 'twin-%s\\n' begin-{number}; {line}; printf 'twin-%s\\n' end-{number}\n");
    stream.write_all(sent.as_bytes()).map_err(failed())?;
    let (begin, end) = (format!("twin-begin-{number}\n"), format!("twin-end-{number}\n"));
    let (mut said, start) = (Vec::new(), Instant::now());
    while start.elapsed() < limit {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(count) => said.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(failed()(error)),
        }
        let text = String::from_utf8_lossy(&said).replace('\r', "");
        if let Some((_, rest)) = text.split_once(&begin)
            && let Some((printed, _)) = rest.split_once(&end)
        {
            return Ok(Some(printed.to_owned()));
        }
    }
    Ok(None)
}
