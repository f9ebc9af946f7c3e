//! Leaving nothing behind.
//!
//! Everything that a lab makes outside its processes carries its prefix: namespaces (their interfaces
//! go with them) and one folder. So one function removes a lab, whoever made it and however that
//! ended: on drop, on a signal, and later for a lab whose owner was killed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::LabError;
use crate::run;

/// What every lab's prefix starts with.
const FAMILY: &str = "nic-lab-";

/// The file in a lab's folder that says whose it is.
const OWNER: &str = "owner";

/// How long killed processes may take to go.
const DEATH: Duration = Duration::from_secs(5);

/// The prefix of this process's lab of that number.
pub(crate) fn prefix(number: usize) -> String {
    format!("{FAMILY}{}-{number}", std::process::id())
}

/// The lab's folder.
pub fn folder(prefix: &str) -> PathBuf {
    std::env::temp_dir().join(prefix)
}

/// Makes the lab's folder and writes down whose it is.
pub(crate) fn claim(prefix: &str) -> Result<PathBuf, LabError> {
    let folder = folder(prefix);
    fs::create_dir_all(&folder).map_err(LabError::io(format!("making {}", folder.display())))?;
    let owner = format!("{} {}", std::process::id(), start_time(std::process::id()).unwrap_or_default());
    fs::write(folder.join(OWNER), owner).map_err(LabError::io("writing down the lab's owner"))?;
    Ok(folder)
}

/// When a process started, in the kernel's ticks; with the id it names a process for good.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the program's name, which may hold spaces, the state is the third field of the line.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19).map(str::to_owned)
}

/// Prefixes of all labs of which something is there.
pub fn labs() -> BTreeSet<String> {
    let mut found: BTreeSet<String> = namespaces(FAMILY)
        .iter()
        .filter_map(|name| name.rsplit_once('-').map(|(prefix, _)| prefix.to_owned()))
        .collect();
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(FAMILY) {
            found.insert(name);
        }
    }
    found
}

/// Whether the process that made the lab still runs.
fn is_owned(prefix: &str) -> bool {
    let Ok(owner) = fs::read_to_string(folder(prefix).join(OWNER)) else { return false };
    let Some((pid, start)) = owner.split_once(' ') else { return false };
    pid.parse().ok().and_then(start_time).is_some_and(|found| found == start)
}

/// Removes every lab whose owner is gone; returns their prefixes.
pub fn abandoned() -> Vec<String> {
    let abandoned: Vec<String> = labs().into_iter().filter(|prefix| !is_owned(prefix)).collect();
    abandoned.iter().for_each(|prefix| remove(prefix));
    abandoned
}

/// Names of the namespaces that start so.
pub fn namespaces(start: &str) -> Vec<String> {
    let list = Command::new("ip").args(["netns", "list"]).output();
    let text = list.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with(start)).map(str::to_owned).collect()
}

/// The processes in a lab's namespaces.
pub fn processes(prefix: &str) -> Vec<i32> {
    let of = |namespace: &String| {
        let output = Command::new("ip").args(["netns", "pids", namespace]).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.unwrap_or_default().lines().filter_map(|line| line.trim().parse().ok()).collect::<Vec<i32>>()
    };
    namespaces(&format!("{prefix}-")).iter().flat_map(of).collect()
}

/// Removes all that a lab made. What is gone already is no error: the last one cleans up what is left.
pub fn remove(prefix: &str) {
    let start = Instant::now();
    loop {
        let processes = processes(prefix);
        if processes.is_empty() || start.elapsed() > DEATH {
            break;
        }
        for pid in processes {
            // It may have ended by itself meanwhile.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for namespace in namespaces(&format!("{prefix}-")) {
        let _ = Command::new("ip").args(["netns", "del", &namespace]).output();
    }
    let _ = fs::remove_dir_all(folder(prefix));
}

/// Set when a signal has said that the process is to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Whoever would make something new while all is being removed waits here for the end.
pub(crate) fn stop_if_ending() {
    while ENDING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// From now on a signal to end removes this process's labs first.
pub(crate) fn on_signals() -> Result<(), LabError> {
    static STARTED: OnceLock<()> = OnceLock::new();
    let mut result = Ok(());
    STARTED.get_or_init(|| {
        result = std::thread::Builder::new()
            .name("signals".into())
            .spawn(wait_for_signals)
            .map(|_| ())
            .map_err(LabError::io("starting the thread that waits for signals"));
    });
    result
}

fn wait_for_signals() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let Ok(runtime) = runtime else { return };
    let received = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            _ = interrupt.recv() => std::io::Result::Ok(2),
            _ = terminate.recv() => Ok(15),
            _ = hangup.recv() => Ok(1),
        }
    });
    let Ok(number) = received else { return };
    ENDING.store(true, Ordering::SeqCst);
    eprintln!("\ninterrupted: removing the lab");
    let own = format!("{FAMILY}{}-", std::process::id());
    // Twice: a command that was under way may have made something behind our back.
    for _ in 0..2 {
        labs().iter().filter(|prefix| prefix.starts_with(&own)).for_each(|prefix| remove(prefix));
        std::thread::sleep(Duration::from_millis(100));
    }
    std::process::exit(128 + number);
}

/// Everything that is found of a lab: nothing, after it was removed.
pub fn traces(prefix: &str) -> Vec<String> {
    let mut found = namespaces(&format!("{prefix}-"));
    found.extend(processes(prefix).iter().map(|pid| format!("process {pid}")));
    if folder(prefix).exists() {
        found.push(folder(prefix).display().to_string());
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(prefix) {
            found.push(format!("process {}", entry.file_name().to_string_lossy()));
        }
    }
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    found.extend(sockets.lines().filter(|line| line.contains(prefix)).map(str::to_owned));
    let links = run::output(Command::new("ip").args(["-br", "link"])).unwrap_or_default();
    found.extend(links.lines().filter(|line| line.contains(prefix)).map(str::to_owned));
    found
}
