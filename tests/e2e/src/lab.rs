//! The lab: namespaces, the card's two processes, the host's shim.

pub(crate) mod twin;

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::capture::Capture;
use crate::client::{self, Answer, Console, Stats, number};
use crate::daemon::Daemon;
use crate::error::LabError;
use crate::netns::{self, Furniture, Node, PLACES, Place};
use crate::run::{self, program};
use crate::sweep;
use crate::traffic::{Received, Receiver, Sender};

/// How long a process may take until it serves.
const START: Duration = Duration::from_secs(30);

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(25);

/// More packets than any stream sends.
const STREAM: &str = "20000000";

/// nic-datapath reads the E-Switch's counters once in this time.
const COUNTER_INTERVAL: Duration = Duration::from_millis(100);

/// Where nic-datapath writes what the representors give to the slow path.
const SLOW_PATH: &str = "slow-path.pcapng";

/// How a lab is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// With IPv6 addresses, too.
    pub ipv6: bool,
    /// Everybody knows everybody's MAC address from the start, so that every packet is a test's own.
    pub neighbours: bool,
    /// The lab outlives the process that made it.
    pub keep: bool,
    /// More options of nic-datapath.
    pub datapath: Vec<String>,
    /// More arguments of the E-Switch's device.
    pub device: String,
    /// What stands behind the E-Switch's ports, in its own words; the places' interfaces if this is empty.
    pub backing: String,
    /// The slow path writes what it receives to a file, which makes it slower.
    pub capture: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ipv6: false,
            neighbours: true,
            keep: false,
            datapath: Vec::new(),
            device: String::new(),
            backing: String::new(),
            capture: true,
        }
    }
}

/// A whole card with two VMs and a peer. All of it goes when this is dropped.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    folder: PathBuf,
    pub(crate) options: Options,
    datapath: Option<Daemon>,
    agent: Option<Daemon>,
    shim: Option<Daemon>,
    /// The card as a machine of its own, in place of the first two.
    machine: Option<Daemon>,
    /// What that machine is made of.
    hardware: Option<twin::Machine>,
    /// What runs at the other end of tunnels, if programs do.
    pub(crate) switches: Vec<Daemon>,
}

impl Lab {
    /// Makes a lab and starts the card; returns when the shim's socket reaches a card that is complete.
    pub fn start(options: Options) -> Result<Lab, LabError> {
        let mut lab = Lab::claim(options)?;
        netns::build(&lab.prefix, lab.furniture())?;
        lab.start_datapath()?;
        lab.start_agent()?;
        lab.start_shim()?;
        lab.await_connected()?;
        Ok(lab)
    }

    /// A lab of which there is nothing yet. A failure later drops it, and with it whatever was made.
    fn claim(options: Options) -> Result<Lab, LabError> {
        static LABS: AtomicUsize = AtomicUsize::new(0);
        sweep::on_signals()?;
        let prefix = sweep::prefix(LABS.fetch_add(1, Ordering::Relaxed));
        let folder = sweep::claim(&prefix)?;
        let (datapath, agent, shim, machine, hardware) = (None, None, None, None, None);
        Ok(Lab { prefix, folder, options, datapath, agent, shim, machine, hardware, switches: Vec::new() })
    }

    fn furniture(&self) -> Furniture {
        Furniture { ipv6: self.options.ipv6, neighbours: self.options.neighbours }
    }

    /// What everything of the lab is named by.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The lab's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The name of a namespace.
    pub fn namespace(&self, node: Node) -> String {
        format!("{}-{}", self.prefix, node.name())
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.sock"))
    }

    /// Where nic-datapath keeps the policy in force.
    pub fn datapath_state(&self) -> PathBuf {
        self.folder.join("datapath-state")
    }

    /// Starts nic-datapath on the interfaces in the card's namespace.
    pub fn start_datapath(&mut self) -> Result<(), LabError> {
        let mut command = self.daemon_command(Node::Card, "nic-datapath");
        command.arg("--no-hardware").args(["--file-prefix", &self.prefix, "--vdev", &self.device()]);
        if self.options.capture {
            command.arg("--capture").arg(self.folder.join(SLOW_PATH));
        }
        command.arg("--listen").arg(self.socket("datapath")).arg("--state-dir").arg(self.datapath_state());
        command.args(["--counter-interval-ms", &COUNTER_INTERVAL.as_millis().to_string()]);
        command.args(&self.options.datapath);
        let daemon = Daemon::start("nic-datapath", command, &self.folder, self.options.keep)?;
        let daemon = self.datapath.insert(daemon);
        await_socket(daemon, &self.folder.join("datapath.sock"))
    }

    /// The E-Switch's device and its arguments.
    pub(crate) fn device(&self) -> String {
        let interface = |place: &Place| format!("{0}:af_packet:{0}", place.device);
        let backing = match self.options.backing.as_str() {
            "" => PLACES.iter().map(interface).collect::<Vec<_>>().join("+"),
            given => given.to_owned(),
        };
        let device =
            format!("net_eswitch0,profile=portable,uplinks=1,vfs=3,representor=vf[0-2],backing={backing}");
        match self.options.device.as_str() {
            "" => device,
            more => format!("{device},{more}"),
        }
    }

    /// Starts nic-agent on the lab's store.
    pub fn start_agent(&mut self) -> Result<(), LabError> {
        let sockets = [self.socket("agent"), self.socket("metrics")];
        let daemon = self.launch_agent()?;
        sockets.iter().try_for_each(|socket| await_socket(daemon, socket))
    }

    /// The same, without waiting until it serves.
    pub fn launch_agent(&mut self) -> Result<&mut Daemon, LabError> {
        let socket = self.socket("agent");
        let mut command = self.daemon_command(Node::Card, "nic-agent");
        command.arg("--listen").arg(format!("unix:{}", socket.display()));
        command.arg("--metrics-listen").arg(format!("unix:{}", self.socket("metrics").display()));
        command.arg("--datapath").arg(self.socket("datapath"));
        command.arg("--state-dir").arg(self.folder.join("state"));
        Ok(self.agent.insert(Daemon::start("nic-agent", command, &self.folder, self.options.keep)?))
    }

    /// Starts the shim on the first host.
    pub fn start_shim(&mut self) -> Result<(), LabError> {
        let socket = self.socket("shim");
        let mut command = self.daemon_command(Node::Host1, "host-shim");
        command.arg("--listen").arg(&socket);
        command.arg("--card").arg(format!("unix:{}", self.socket("agent").display()));
        let daemon = self.shim.insert(Daemon::start("host-shim", command, &self.folder, self.options.keep)?);
        await_socket(daemon, &socket)
    }

    fn daemon_command(&self, node: Node, name: &str) -> Command {
        self.lasting(node, program(name))
    }

    /// A command in a namespace that ends with the lab.
    pub(crate) fn lasting(&self, node: Node, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let namespace = self.namespace(node);
        if self.options.keep {
            netns::within_for_good(&namespace, program)
        } else {
            netns::within(&namespace, program)
        }
    }

    /// Waits until nic-agent and nic-datapath have shaken hands.
    pub fn await_connected(&mut self) -> Result<(), LabError> {
        self.until("a card that is complete", START, |lab| {
            let answer = lab.nicctl(&["status", "-o", "json"])?;
            let status: Value = serde_json::from_str(&answer.out).unwrap_or_default();
            let done = status["datapath"]["connected"] == true;
            Ok(if done { Ok(()) } else { Err(format!("{}{}", answer.out, answer.err)) })
        })
    }

    /// nic-datapath.
    pub fn datapath(&mut self) -> &mut Daemon {
        self.datapath.as_mut().expect("a lab that started has one")
    }

    /// nic-agent.
    pub fn agent(&mut self) -> &mut Daemon {
        self.agent.as_mut().expect("a lab that started has one")
    }

    /// host-shim.
    pub fn shim(&mut self) -> &mut Daemon {
        self.shim.as_mut().expect("a lab that started has one")
    }

    /// nicctl on the first host, for a thread of its own.
    pub fn console(&self) -> Console {
        let server = format!("unix:{}", self.socket("shim").display());
        Console { namespace: self.namespace(Node::Host1), server }
    }

    /// nicctl on the first host, against the shim's socket.
    pub fn nicctl_command(&self, args: &[&str]) -> Command {
        self.console().command(args)
    }

    /// Runs nicctl to its end, whatever that is.
    pub fn nicctl(&self, args: &[&str]) -> Result<Answer, LabError> {
        client::call(&mut self.nicctl_command(args))
    }

    /// Runs nicctl, which must succeed, and gives what it printed for people.
    pub fn show(&self, args: &[&str]) -> Result<String, LabError> {
        run::output(&mut self.nicctl_command(args))
    }

    /// Runs nicctl, which must succeed, and gives what it printed for programs.
    pub fn json(&self, args: &[&str]) -> Result<Value, LabError> {
        client::json(self.nicctl_command(args).args(["-o", "json"]))
    }

    /// The card's counters.
    pub fn stats(&self) -> Result<Stats, LabError> {
        self.json(&["stats"]).map(Stats)
    }

    /// nic-agent's page of metrics.
    pub fn metrics(&self) -> Result<String, LabError> {
        let failed = || LabError::io("reading metrics");
        let mut stream = UnixStream::connect(self.socket("metrics")).map_err(failed())?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: card\r\n\r\n").map_err(failed())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(failed())?;
        match answer.split_once("\r\n\r\n") {
            Some((head, page)) if head.contains(" 200 ") => Ok(page.to_owned()),
            _ => Err(LabError::Output {
                command: "GET /metrics".into(),
                output: answer,
                why: "no page".into(),
            }),
        }
    }

    /// How many frames of the capture on the representors a filter of tcpdump's lets pass.
    pub fn captured(&self, filter: &str) -> Result<u64, LabError> {
        let mut command = Command::new("tcpdump");
        command.arg("-nr").arg(self.folder.join(SLOW_PATH)).arg(filter);
        Ok(run::output(&mut command)?.lines().count() as u64)
    }

    /// The counters when the E-Switch's have been read after everything that was sent so far.
    pub fn settled_stats(&self) -> Result<Stats, LabError> {
        std::thread::sleep(COUNTER_INTERVAL * 2);
        let mut last = self.stats()?;
        let start = Instant::now();
        loop {
            std::thread::sleep(COUNTER_INTERVAL * 2);
            let next = self.stats()?;
            let same = (next.hardware(), next.slow_path()) == (last.hardware(), last.slow_path());
            if same || start.elapsed() > START {
                return Ok(next);
            }
            last = next;
        }
    }

    /// The flows of the card.
    pub fn flows(&self) -> Result<Vec<Value>, LabError> {
        let flows = self.json(&["flows"])?;
        Ok(flows["flows"].as_array().cloned().unwrap_or_default())
    }

    /// Applies a text, in the place of all that was applied so by this before, and waits until the
    /// datapath reports it applied.
    pub fn apply(&self, yaml: &str) -> Result<String, LabError> {
        let answer = self.try_apply(yaml)?;
        if answer.code == 0 {
            return Ok(answer.out);
        }
        let why = format!("exit code {}", answer.code);
        Err(LabError::Output { command: "nicctl apply".into(), output: answer.out + &answer.err, why })
    }

    /// The same, whatever comes of it.
    pub fn try_apply(&self, yaml: &str) -> Result<Answer, LabError> {
        let file = self.folder.join("apply.yaml");
        fs::write(&file, yaml).map_err(LabError::io("writing the configuration"))?;
        self.nicctl(&["apply", "-f", &file.to_string_lossy(), "--prune", "--yes", "--wait"])
    }

    /// Waits until something holds; what is seen instead is told if it does not.
    pub fn until(
        &mut self,
        what: &str,
        limit: Duration,
        holds: impl FnMut(&mut Lab) -> Result<Result<(), String>, LabError>,
    ) -> Result<(), LabError> {
        self.until_at(LOOK, what, limit, holds)
    }

    /// The same, with that time between two looks.
    pub(crate) fn until_at(
        &mut self,
        look: Duration,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut(&mut Lab) -> Result<Result<(), String>, LabError>,
    ) -> Result<(), LabError> {
        let start = Instant::now();
        loop {
            match holds(self)? {
                Ok(()) => return Ok(()),
                Err(last) if start.elapsed() > limit => {
                    return Err(LabError::Late { what: what.to_owned(), limit, last });
                }
                Err(_) => std::thread::sleep(look),
            }
        }
    }

    /// Waits until a flow that comes in by a Port and has a text in its match is in the E-Switch.
    pub fn await_hardware(&mut self, port: &str, text: &str) -> Result<(), LabError> {
        self.await_all_hardware(port, &[text], Duration::from_secs(10))
    }

    /// The same of flows that have several texts in their match, for so long.
    pub fn await_all_hardware(
        &mut self,
        port: &str,
        texts: &[&str],
        limit: Duration,
    ) -> Result<(), LabError> {
        let port = format!("ports/{port}");
        let what = format!("a flow from {port} with {} in hardware", texts.join(" and "));
        self.until(&what, limit, |lab| {
            let flows = lab.flows()?;
            let has = |flow: &&Value, text: &&str| {
                flow["match"].as_str().is_some_and(|matched| matched.contains(*text))
            };
            let wanted =
                |flow: &&Value| flow["inPort"] == port.as_str() && texts.iter().all(|text| has(flow, text));
            let mut mine = flows.iter().filter(wanted).peekable();
            let done = mine.peek().is_some() && mine.all(|flow| flow["tier"] == "HARDWARE");
            Ok(if done { Ok(()) } else { Err(lab.show(&["flows"])?) })
        })
    }

    /// A command in a node's namespace.
    pub fn command(&self, node: Node, program: &str) -> Command {
        netns::within(&self.namespace(node), program)
    }

    fn traffic(&self, node: Node, args: &[&str]) -> Command {
        let mut command = netns::within(&self.namespace(node), program("nic-traffic"));
        command.args(args);
        command
    }

    /// Starts to count `count` numbered UDP packets at an address of a node.
    pub fn receive(&self, at: Place, to: SocketAddr, count: u64) -> Result<Receiver, LabError> {
        let (to, count) = (to.to_string(), count.to_string());
        Receiver::start(self.traffic(at.node, &["udp-receive", "--listen", &to, "--count", &count]))
    }

    /// Sends numbered UDP packets, so many a second, from a source port that is always the same.
    pub fn send(&self, from: Place, to: SocketAddr, count: u64, rate: u64) -> Result<Value, LabError> {
        let address = if to.is_ipv4() { IpAddr::V4(from.ipv4()) } else { IpAddr::V6(from.ipv6()) };
        let source = SocketAddr::new(address, 20_000).to_string();
        let (to, count, rate) = (to.to_string(), count.to_string(), rate.to_string());
        let args = ["udp-send", "--from", &source, "--to", &to, "--count", &count, "--rate", &rate];
        client::json(&mut self.traffic(from.node, &args))
    }

    /// Starts such a sender and does not wait for it.
    pub fn send_meanwhile(
        &self,
        from: Place,
        to: SocketAddr,
        count: u64,
        rate: u64,
    ) -> Result<std::process::Child, LabError> {
        let source = SocketAddr::new(IpAddr::V4(from.ipv4()), 20_000).to_string();
        let (to, count, rate) = (to.to_string(), count.to_string(), rate.to_string());
        let args = ["udp-send", "--from", &source, "--to", &to, "--count", &count, "--rate", &rate];
        let mut command = self.traffic(from.node, &args);
        command.stdout(std::process::Stdio::null());
        sweep::stop_if_ending();
        command.spawn().map_err(run::start_error(&command))
    }

    /// Starts to send numbered UDP packets, `rate` a second and `flow_length` of each source port, until
    /// told to stop.
    pub fn stream(
        &self,
        from: Place,
        to: SocketAddr,
        rate: u64,
        flow_length: u64,
    ) -> Result<Sender, LabError> {
        let source = SocketAddr::new(IpAddr::V4(from.ipv4()), 20_000).to_string();
        let (to, rate, length) = (to.to_string(), rate.to_string(), flow_length.to_string());
        let mut args = vec!["udp-send", "--from", &source, "--to", &to, "--rate", &rate];
        args.extend(["--flow-length", &length, "--count", STREAM, "--until-closed"]);
        Sender::start(self.traffic(from.node, &args))
    }

    /// Counts all that a stream sends, until nothing came for so long.
    pub fn receive_stream(&self, at: Place, to: SocketAddr, idle: Duration) -> Result<Receiver, LabError> {
        let (to, idle) = (to.to_string(), idle.as_secs_f64().to_string());
        let args = ["udp-receive", "--listen", &to, "--count", STREAM, "--idle", &idle];
        Receiver::start(self.traffic(at.node, &args))
    }

    /// Sends `count` numbered UDP packets to a port of another node and counts what arrives.
    pub fn udp(
        &self,
        from: Place,
        at: Place,
        port: u16,
        count: u64,
        rate: u64,
    ) -> Result<Received, LabError> {
        let to = SocketAddr::new(IpAddr::V4(at.ipv4()), port);
        let receiver = self.receive(at, to, count)?;
        let sent = self.send(from, to, count, rate)?;
        if number(&sent["sent"]) != count {
            let command = "nic-traffic udp-send".into();
            return Err(LabError::Output {
                command,
                output: sent.to_string(),
                why: "not all were sent".into(),
            });
        }
        receiver.finish().map(Received::from)
    }

    /// Sends a stream over TCP to another node; gives the receiver's result.
    pub fn tcp(&self, from: Place, to: SocketAddr, at: Place, bytes: u64) -> Result<Value, LabError> {
        self.tcp_into(from, to, at.node, bytes)
    }

    /// The same to a namespace that has no place.
    pub fn tcp_into(&self, from: Place, to: SocketAddr, at: Node, bytes: u64) -> Result<Value, LabError> {
        let (to, bytes) = (to.to_string(), bytes.to_string());
        let receiver = Receiver::start(self.traffic(at, &["tcp-receive", "--listen", &to]))?;
        client::json(&mut self.traffic(from.node, &["tcp-send", "--to", &to, "--bytes", &bytes]))?;
        receiver.finish()
    }

    /// Sends echo requests; gives how many were answered and how fast.
    pub fn ping(&self, from: Place, to: IpAddr, count: u16, wait: f64) -> Result<Value, LabError> {
        let (to, count, wait) = (to.to_string(), count.to_string(), wait.to_string());
        client::json(&mut self.traffic(from.node, &["ping", "--to", &to, "--count", &count, "--wait", &wait]))
    }

    /// Sends Ethernet frames as they are.
    pub fn frames(&self, from: Place, frames: &[Vec<u8>], times: u32) -> Result<(), LabError> {
        self.frames_by(from.node, "eth0", frames, times)
    }

    /// The same by an interface of a node.
    pub fn frames_by(
        &self,
        node: Node,
        interface: &str,
        frames: &[Vec<u8>],
        times: u32,
    ) -> Result<(), LabError> {
        let line = |frame: &Vec<u8>| frame.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let text = frames.iter().map(line).collect::<Vec<_>>().join("\n");
        let file = self.folder.join(format!("{}.frames", node.name()));
        fs::write(&file, text).map_err(LabError::io("writing frames"))?;
        let (file, times) = (file.to_string_lossy().into_owned(), times.to_string());
        let args = ["frames", "--interface", interface, "--file", &file, "--times", &times];
        client::json(&mut self.traffic(node, &args)).map(|_| ())
    }

    /// Starts to capture what comes in at a node.
    pub fn capture(&self, at: Place) -> Result<Capture, LabError> {
        let file = self.folder.join(format!("{}.pcap", at.node.name()));
        Capture::start(self.command(at.node, "tcpdump"), "eth0", &file)
    }

    /// What an operator would look at first when something is wrong.
    pub fn operators_view(&mut self) -> String {
        let mut view = String::new();
        for verb in ["status", "stats", "flows", "fdb", "neighbors"] {
            let told = self.nicctl(&[verb]).map(|answer| answer.out + &answer.err);
            view += &format!("--- nicctl {verb}\n{}\n", told.unwrap_or_else(|error| error.to_string()));
        }
        let daemons = [&self.datapath, &self.agent, &self.shim, &self.machine].into_iter().flatten();
        for daemon in daemons.chain(&self.switches) {
            view += &format!("--- log of pid {}\n{}", daemon.pid(), daemon.log_tail());
        }
        view
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.operators_view());
        }
        if self.options.keep && !std::thread::panicking() {
            return;
        }
        for daemon in [&mut self.shim, &mut self.agent, &mut self.datapath, &mut self.machine] {
            daemon.take();
        }
        sweep::remove(&self.prefix);
    }
}

/// Waits until a process serves its socket.
pub(crate) fn await_socket(daemon: &mut Daemon, socket: &Path) -> Result<(), LabError> {
    let start = Instant::now();
    loop {
        daemon.check()?;
        match UnixStream::connect(socket) {
            Ok(_) => return Ok(()),
            Err(error) if start.elapsed() > START => {
                let what = format!("the socket {}", socket.display());
                return Err(LabError::Late {
                    what,
                    limit: START,
                    last: format!("{error}\n{}", daemon.log_tail()),
                });
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}
