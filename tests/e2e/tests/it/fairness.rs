//! A port that behaves beside one that does not: packets of a victim, while another port sends nothing but new
//! flows, and flows that make a classifier probe more and more masks. Beside Open vSwitch with DPDK, on the
//! same E-Switch with the same packets.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e::ovs_dpdk::OvsDpdk;
use e2e::{LabError, Node, Options, Place};

use crate::bench::{Bench, Outcome, PORTS, peer, vm1, vm2};
use crate::kills::given;

/// The victim, and what the others send as fast as it is taken.
const VICTIM: &str = "rate:10000/flows:64";
const STORM: &str = "flows:random";
const EXPLOSION: &str = "flows:masks";

/// From the first packet until it is measured, and the measurement.
const BEFORE: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(2);

/// After so long a silence the last packet was the last, and the longest wait for that.
const SILENCE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(5);

/// What a loss may be above the quiet one, in percent of all packets, and what half of the packets may
/// take, in times of what they take when all is quiet.
const LOSS: f64 = 0.5;
const DELAY: f64 = 2.0;

/// Rules that make a flow of each 5-tuple of the first VM, rules of three fields for the third VM's packets,
/// and the victim's. The names are those of the VMs and of the uplink.
fn policy(storm: &[&str], names: [&str; 4]) -> Vec<String> {
    let explosion = [
        "priority=30,in_port=VM3,udp,tp_dst=80,actions=output:UPLINK",
        "priority=20,in_port=VM3,udp,nw_src=10.0.0.1,actions=output:UPLINK",
        "priority=15,in_port=VM3,udp,tp_src=12345,actions=output:UPLINK",
        "priority=1,in_port=VM3,actions=output:UPLINK",
        "priority=1,in_port=VM2,actions=output:UPLINK",
    ];
    let [vm1, vm2, vm3, uplink] = names;
    let named = |rule: &&str| {
        rule.replace("VM1", vm1).replace("VM2", vm2).replace("VM3", vm3).replace("UPLINK", uplink)
    };
    storm.iter().chain(&explosion).map(named).collect()
}

fn ours() -> String {
    let storm = [
        "priority=9,in_port=VM1,udp,nw_src=10.9.9.9,nw_dst=192.168.9.9,tp_src=9,tp_dst=9,actions=drop",
        "priority=1,in_port=VM1,actions=output:UPLINK",
    ];
    let port = "---\napiVersion: nic.v1\nkind: Port\nname: ports/vm3\nspec: {device: pf0vf2}\n";
    let rule = |(number, flow): (usize, String)| {
        format!(
            "---\napiVersion: nic.v1\nkind: FlowRule\nname: flowRules/r{number}\nspec: {{flow: '{flow}'}}\n"
        )
    };
    let rules = policy(&storm, ["vm1", "vm2", "vm3", "pf0"]);
    PORTS.to_owned() + port + &rules.into_iter().enumerate().map(rule).collect::<String>()
}

/// Open vSwitch asks only for the bits of a rule that tell packets apart: it has to use the 5-tuple for
/// something.
fn theirs() -> String {
    let storm = ["priority=1,in_port=VM1,udp,actions=move:NXM_OF_IP_SRC[]->NXM_NX_REG0[],\
         move:NXM_OF_IP_DST[]->NXM_NX_REG1[],move:NXM_OF_UDP_SRC[]->NXM_NX_REG2[0..15],\
         move:NXM_OF_UDP_DST[]->NXM_NX_REG2[16..31],output:UPLINK"];
    policy(&storm, ["1", "2", "3", "4"]).join("\n")
}

/// The E-Switch's control socket.
struct Eswitch(BufReader<UnixStream>);

impl Eswitch {
    fn connect(path: &Path) -> Result<Eswitch, LabError> {
        let stream = UnixStream::connect(path).map_err(LabError::io("reaching the E-Switch"))?;
        Ok(Eswitch(BufReader::new(stream)))
    }

    fn ask(&mut self, request: &str) -> Result<String, LabError> {
        let failed = || LabError::io(format!("asking the E-Switch for {request}"));
        self.0.get_ref().write_all(format!("{request}\n").as_bytes()).map_err(failed())?;
        let mut line = String::new();
        self.0.read_line(&mut line).map_err(failed())?;
        if line.starts_with("ok") {
            return Ok(line);
        }
        let command = request.into();
        Err(LabError::Output { command, output: line, why: "it was refused".into() })
    }

    /// What became of the victim's packets, while a port sends something.
    fn measure(&mut self, attack: Option<(Place, &str)>) -> Result<Seen, LabError> {
        let victim = vm2().device;
        self.ask(&format!("synth {victim} start {VICTIM}"))?;
        if let Some((attacker, traffic)) = attack {
            self.ask(&format!("synth {} start {traffic}", attacker.device))?;
        }
        std::thread::sleep(BEFORE);
        self.ask("synth reset")?;
        let begin = Instant::now();
        std::thread::sleep(MEASURED);
        self.ask(&format!("synth {victim} stop"))?;
        let mut shown = self.ask("synth show")?;
        loop {
            std::thread::sleep(SILENCE);
            let before = std::mem::replace(&mut shown, self.ask("synth show")?);
            let silent = sink(&before, victim) == sink(&shown, victim);
            if silent || begin.elapsed() > MEASURED + PATIENCE {
                break;
            }
        }
        let took = begin.elapsed();
        if let Some((attacker, _)) = attack {
            self.ask(&format!("synth {} stop", attacker.device))?;
        }
        Seen::read(&shown, took, victim, attack.map(|(attacker, _)| attacker.device)).ok_or(
            LabError::Output { command: "synth show".into(), output: shown, why: "it lacks a number".into() },
        )
    }
}

/// What the E-Switch tells of a port.
fn of_port<'a>(shown: &'a str, port: &str) -> Option<&'a str> {
    let port = format!("{port} ");
    shown.trim_start_matches("ok ").split("; ").find(|part| part.starts_with(&port))
}

/// What it tells of a source's packets that came out by the uplink.
fn sink<'a>(shown: &'a str, source: &str) -> Option<&'a str> {
    let source = format!("{source} ");
    of_port(shown, peer().device)?.split(" from=").find(|part| part.starts_with(&source))
}

/// What became of the victim's packets.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Percent.
    loss: f64,
    /// Of that, what the E-Switch was too late to send.
    late: f64,
    /// Microseconds.
    p50: f64,
    p99: f64,
    /// Thousands of packets a second of the attacker, sent and forwarded.
    attack: [f64; 2],
}

impl Seen {
    fn read(shown: &str, took: Duration, victim: &str, attacker: Option<&str>) -> Option<Seen> {
        let of = |port: &str| of_port(shown, port);
        let number = |part: &str, name: &str| {
            let value = part.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value?.parse::<f64>().ok()
        };
        let source = of(victim)?;
        let due = number(source, "due")?;
        // Nothing at all may have come out.
        let out = |name: &str| sink(shown, victim).and_then(|part| number(part, name));
        let thousands = |count: f64| count / 1e3 / took.as_secs_f64();
        let attack = match attacker {
            None => [0.0; 2],
            Some(port) => [
                thousands(number(of(port)?, "sent")?),
                thousands(sink(shown, port).and_then(|part| number(part, "received")).unwrap_or(0.0)),
            ],
        };
        let micros = |name| out(name).map_or(f64::INFINITY, |nanos| nanos / 1e3);
        Some(Seen {
            loss: 100.0 * (1.0 - out("received").unwrap_or(0.0) / due),
            late: 100.0 * number(source, "missed")? / due,
            p50: micros("p50_ns"),
            p99: micros("p99_ns"),
            attack,
        })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { loss, late, p50, p99, attack: [offered, forwarded] } = self;
        write!(
            f,
            "loss {loss:7.3} % (late {late:.3}), p50 {p50:9.0} us, p99 {p99:9.0} us, attack {offered:6.0} kpps, \
             {forwarded:6.0} forwarded"
        )
    }
}

/// All that was measured of one switch.
#[derive(Default)]
struct Rounds([Vec<Seen>; 3]);

impl Rounds {
    const CASES: [&'static str; 3] = ["quiet", "storm", "explosion"];

    fn add(&mut self, name: &str, eswitch: &mut Eswitch) -> Result<(), LabError> {
        let attacks = [None, Some((vm1(), STORM)), Some((Node::Host3.place(), EXPLOSION))];
        for ((attack, case), seen) in attacks.into_iter().zip(Self::CASES).zip(&mut self.0) {
            let one = eswitch.measure(attack)?;
            println!("{name:<12} {case:<9} {one}");
            seen.push(one);
        }
        Ok(())
    }

    /// The medians of each case.
    fn medians(&self) -> [Seen; 3] {
        let median = |seen: &[Seen], of: fn(&Seen) -> f64| {
            let mut values: Vec<f64> = seen.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        [0, 1, 2].map(|case| {
            let seen = &self.0[case];
            Seen {
                loss: median(seen, |one| one.loss),
                late: median(seen, |one| one.late),
                p50: median(seen, |one| one.p50),
                p99: median(seen, |one| one.p99),
                attack: [median(seen, |one| one.attack[0]), median(seen, |one| one.attack[1])],
            }
        })
    }
}

fn options(control: &Path, datapath: &[&str]) -> Options {
    Options {
        backing: "*:synth".into(),
        device: format!("control={}", control.display()),
        capture: false,
        datapath: datapath.iter().map(|&word| word.into()).collect(),
        ..Options::default()
    }
}

fn await_eswitch(control: &Path) -> Result<Eswitch, LabError> {
    let begin = Instant::now();
    loop {
        match Eswitch::connect(control) {
            Err(_) if begin.elapsed() < Duration::from_secs(10) => {
                std::thread::sleep(Duration::from_millis(20))
            }
            result => return result,
        }
    }
}

/// The switches in one round: one after the other, for each takes all of the machine.
const SWITCHES: [&str; 3] = ["slow path", "Open vSwitch", "as shipped"];

/// Those of which the figures are promised.
const OURS: [usize; 2] = [0, 2];

/// Measures each switch once.
fn round(control: &Path, rounds: &mut [Rounds; 3]) -> Outcome {
    // As Open vSwitch has it: a CPU of its own, on which it never sleeps, and no rules in the E-Switch.
    let mut lab = Bench::start(options(control, &["--no-offload", "--busy-poll", "--worker-cpu", "1"]))?;
    lab.apply(&ours())?;
    rounds[0].add(SWITCHES[0], &mut await_eswitch(control)?)?;
    lab.datapath().kill();
    let places = [vm1(), vm2(), Node::Host3.place(), peer()];
    let ovs = OvsDpdk::start_on_eswitch(&mut lab, &places, &theirs())?;
    let mut eswitch = await_eswitch(control)?;
    rounds[1].add(SWITCHES[1], &mut eswitch).inspect_err(|_| println!("{}", ovs.log()))?;
    drop(ovs);
    drop(lab);
    let lab = Bench::start(options(control, &[]))?;
    lab.apply(&ours())?;
    rounds[2].add(SWITCHES[2], &mut await_eswitch(control)?)
}

/// What is wrong with the slow path's figures.
fn unfair(rounds: &Rounds) -> Option<String> {
    let [quiet, attacks @ ..] = rounds.medians();
    let unfair = |seen: &&Seen| seen.loss > quiet.loss + LOSS || seen.p50 > quiet.p50 * DELAY;
    attacks.iter().find(unfair).map(|seen| format!("{seen}; when all is quiet: {quiet}"))
}

#[test]
fn a_port_that_sends_nothing_but_new_flows_harms_no_other() -> Outcome {
    let asked = given("NIC_AGENT_ROUNDS", 1);
    let control: PathBuf = std::env::temp_dir().join(format!("nic-fairness-{}.sock", std::process::id()));
    let mut rounds = <[Rounds; 3]>::default();
    for number in 1.. {
        round(&control, &mut rounds)?;
        // A machine that was busy with something else gets another chance.
        let fair = OURS.iter().all(|&ours| unfair(&rounds[ours]).is_none());
        if number >= asked && (fair || number >= asked + 2) {
            println!("medians of {number}:");
            break;
        }
    }
    for (name, rounds) in SWITCHES.iter().zip(&rounds) {
        for (case, seen) in Rounds::CASES.iter().zip(rounds.medians()) {
            println!("{name:<12} {case:<9} {seen}");
        }
    }
    for ours in OURS {
        assert_eq!(unfair(&rounds[ours]), None, "{}", SWITCHES[ours]);
    }
    let [_, _, explosion] = rounds[1].medians();
    assert!(explosion.loss > 50.0, "the explosion is one, for Open vSwitch loses its packets: {explosion}");
    Ok(())
}
