//! Network namespaces, each with one interface, and one for the switch with their far ends.

use std::fs::File;
use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};

/// A namespace for the switch, and one for each host, joined to it by a veth pair. All are gone when
/// it is dropped.
#[derive(Debug)]
pub struct Lab {
    switch: String,
    hosts: Vec<Namespace>,
}

/// A host: a namespace with an interface `eth0`.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: String,
    /// The far end of its interface, in the switch's namespace.
    far_end: String,
}

/// Why there is no lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// `ip` does not run.
    #[error("ip does not run: {0}")]
    Ip(#[from] io::Error),
    /// `ip` refused.
    #[error("ip {arguments}: {said} (namespaces need root)")]
    Refused {
        /// What it was asked.
        arguments: String,
        /// What it answered.
        said: String,
    },
}

fn ip(arguments: &str) -> Result<(), LabError> {
    let output = Command::new("ip").args(arguments.split(' ')).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LabError::Refused { arguments: arguments.into(), said })
}

impl Lab {
    /// Makes a lab with hosts 10.77.0.1, 10.77.0.2, ...
    ///
    /// # Errors
    /// If `ip` refuses.
    pub fn new(hosts: usize) -> Result<Lab, LabError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let base = format!("cf{}n{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut lab = Lab { switch: format!("{base}sw"), hosts: Vec::new() };
        ip(&format!("netns add {}", lab.switch))?;
        for number in 1..=hosts {
            let host = Namespace { name: format!("{base}h{number}"), far_end: format!("far{number}") };
            let (name, far, switch) = (&host.name, &host.far_end, &lab.switch);
            ip(&format!("netns add {name}"))?;
            lab.hosts.push(host.clone());
            ip(&format!("-n {switch} link add {far} type veth peer name eth0 netns {name}"))?;
            ip(&format!("-n {switch} link set {far} up"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
            ip(&format!("-n {name} addr add 10.77.0.{number}/24 dev eth0"))?;
        }
        Ok(lab)
    }

    /// The namespace of the switch.
    pub fn switch(&self) -> &str {
        &self.switch
    }

    /// A host, counted from 0.
    pub fn host(&self, index: usize) -> &Namespace {
        &self.hosts[index]
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in self.hosts.iter().map(|host| &host.name).chain([&self.switch]) {
            // What was not made cannot be removed.
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

impl Namespace {
    /// The interface in the switch's namespace.
    pub fn far_end(&self) -> &str {
        &self.far_end
    }

    /// Runs `ip` in the namespace.
    ///
    /// # Errors
    /// If it refuses.
    pub fn ip(&self, arguments: &str) -> Result<(), LabError> {
        ip(&format!("-n {} {arguments}", self.name))
    }

    /// Runs a function on a thread that is in the namespace.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn enter<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<thread::JoinHandle<T>> {
        let namespace = File::open(format!("/run/netns/{}", self.name))?;
        let (entered, wait) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let done = setns(namespace, CloneFlags::CLONE_NEWNET);
            let inside = done.is_ok();
            let _ = entered.send(done);
            assert!(inside, "the namespace was not entered");
            act()
        });
        wait.recv().map_err(io::Error::other)??;
        Ok(thread)
    }
}
