//! An unreliable card as its application meets it, told what to do by its control socket.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dpdk::flow::{Action, Eth, FlowError, Item, Masked};
use dpdk::{Burst, FlowRule};
use nix::poll::{PollFd, PollFlags, poll};

use crate::lifetime::in_a_process_of_its_own;
use crate::packets::plain;
use crate::{PATIENCE, Rig, SILENCE, start};

#[test]
fn a_card_is_as_unreliable_as_it_is_told_to_be() {
    in_a_process_of_its_own("faults::body_of_calls_that_fail");
    in_a_process_of_its_own("faults::body_of_rules_that_are_not_what_they_seem");
    in_a_process_of_its_own("faults::body_of_a_queue_that_stalls");
    in_a_process_of_its_own("faults::body_of_the_control_socket");
}

/// A device with a control socket, one uplink and one VF.
struct Lab {
    rig: Rig,
    control: Client,
    directory: PathBuf,
}

pub(crate) struct Client {
    answers: BufReader<UnixStream>,
}

impl Client {
    pub(crate) fn connect(path: &Path) -> Client {
        let stream = UnixStream::connect(path).expect("the switch listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a duration that is not zero");
        Client { answers: BufReader::new(stream) }
    }

    fn send(&self, bytes: &[u8]) {
        self.answers.get_ref().write_all(bytes).expect("the switch reads");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer comes");
        line.pop();
        line
    }

    pub(crate) fn ask(&mut self, request: &str) -> String {
        self.send(format!("{request}\n").as_bytes());
        self.answer()
    }

    /// True if the switch has ended the connection, with or without what it did not read.
    fn is_over(&mut self) -> bool {
        let end = self.answers.read_to_end(&mut Vec::new());
        end.is_ok() || end.is_err_and(|why| why.kind() == ErrorKind::ConnectionReset)
    }
}

impl Lab {
    fn new(faults: &str) -> Lab {
        let directory = std::env::temp_dir().join(format!("nes-faults-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("control");
        let device =
            format!("net_eswitch0,vfs=1,representor=0,backing=*:inject{faults},control={}", path.display());
        let eal = start("nes-faults", &[&device]).unwrap();
        let rig = Rig::with(eal, "net_eswitch0", 255, |mut config| {
            (config.rx_descriptors, config.rx_interrupts) = (8, true);
            config
        });
        Lab { rig, control: Client::connect(&path), directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.join("control")
    }

    fn faults(&mut self, text: &str) {
        assert_eq!(self.control.ask(&format!("faults {text}")), "ok", "{text}");
    }

    /// A rule from the uplink to the VF, for one destination.
    fn rule(&self, last: u8) -> Result<FlowRule, FlowError> {
        self.counting(last, true)
    }

    fn counting(&self, last: u8, counts: bool) -> Result<FlowRule, FlowError> {
        let dst = [2, 0, 0, 0, 0, last];
        let mac =
            Masked::new(Eth { dst, ..Default::default() }, Eth { dst: [0xff; 6], ..Default::default() });
        let to_vf = Action::RepresentedPort(self.rig.dev("pf0vf0"));
        let actions = if counts { vec![Action::Count, to_vf] } else { vec![to_vf] };
        self.rig.rule("p0", &[Item::Eth(mac)], &actions)
    }

    /// Sends a frame to that destination. True if it came out of the VF, false if it was missed.
    fn hits(&mut self, last: u8) -> bool {
        let mut frame = plain(b"?");
        frame[5] = last;
        self.rig.wire("p0").send(&frame).unwrap();
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if self.rig.wire("pf0vf0").receive(Duration::ZERO).is_some() {
                return true;
            }
            if self.rig.missed("p0", Duration::ZERO).is_some() {
                return false;
            }
        }
        panic!("the frame is lost");
    }

    /// Ends the device; its socket goes with it.
    fn end(mut self) {
        self.rig.ports.clear();
        assert!(!self.path().exists());
        std::fs::remove_dir(&self.directory).unwrap();
    }
}

fn packets(rule: &FlowRule) -> Option<u64> {
    rule.query_count().unwrap().packets
}

/// Waits until that is so.
fn becomes(mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[ignore = "starts EAL: run by a_card_is_as_unreliable_as_it_is_told_to_be in a process of its own"]
fn body_of_calls_that_fail() {
    // What stands in the device arguments holds from the beginning.
    let mut lab = Lab::new(",faults=create:enospc:1+seed:4");
    assert_eq!(lab.rule(1).unwrap_err().errno.get(), libc::ENOSPC);
    assert_eq!(lab.control.ask("show"), "ok faults=create:enospc:1+seed:4 hits=create:enospc:1");
    for (name, errno) in
        [("enospc", libc::ENOSPC), ("eagain", libc::EAGAIN), ("eio", libc::EIO), ("enomem", libc::ENOMEM)]
    {
        lab.faults("none");
        let rule = lab.rule(1).unwrap();
        lab.faults(&format!("create:{name}:1+destroy:{name}:1+query:{name}:1"));
        let refused = lab.rule(2).unwrap_err();
        assert_eq!((refused.errno.get(), refused.message.is_some()), (errno, true), "{refused}");
        assert_eq!(rule.query_count().unwrap_err().errno.get(), errno);
        let stays = rule.destroy().unwrap_err();
        assert_eq!(stays.error.errno.get(), errno);
        assert!(lab.hits(1), "a rule that was not destroyed still matches");
        let hits = format!("hits=create:{name}:1+destroy:{name}:1+query:{name}:1");
        assert!(lab.control.ask("show").ends_with(&hits));
        lab.faults("none");
        assert_eq!(packets(&stays.rule), Some(1));
        stays.rule.destroy().unwrap();
        assert!(!lab.hits(1));
    }

    lab.faults("max_rules:3+max_counters:1");
    let mut rules = vec![lab.rule(1).unwrap()];
    let no_counter = lab.rule(2).unwrap_err();
    assert_eq!(no_counter.errno.get(), libc::ENOSPC);
    assert!(no_counter.message.unwrap().contains("counters"));
    rules.extend([2, 3].map(|last| lab.counting(last, false).unwrap()));
    assert_eq!(lab.counting(4, false).unwrap_err().errno.get(), libc::ENOSPC);
    assert!(lab.control.ask("show").ends_with("hits=max_rules:1+max_counters:1"));
    drop(rules);
    lab.end();
}

#[test]
#[ignore = "starts EAL: run by a_card_is_as_unreliable_as_it_is_told_to_be in a process of its own"]
fn body_of_rules_that_are_not_what_they_seem() {
    let mut lab = Lab::new("");
    let rule = lab.rule(1).unwrap();
    assert!(lab.hits(1));

    lab.faults("counters:frozen");
    assert!(lab.hits(1));
    assert_eq!(packets(&rule), Some(1));
    lab.faults("none");
    assert_eq!(packets(&rule), Some(2));
    lab.faults("counters:late:300");
    assert!(lab.hits(1));
    // Nobody but the switch's own thread makes it read its counters.
    becomes(|| packets(&rule) == Some(3));
    lab.faults("none");

    assert_eq!(lab.control.ask("lose-now 5"), "ok lost=1");
    assert!(!lab.hits(1));
    assert_eq!(packets(&rule), Some(3), "the handle and the counters of a lost rule stay");
    assert_eq!(lab.rule(1).unwrap_err().errno.get(), libc::EEXIST);
    assert_eq!(lab.control.ask("rules"), "ok rules=1 waiting=0 lost=1 leaving=0");
    rule.destroy().unwrap();

    lab.faults("lose:1:1");
    let mut rules: Vec<_> = (1..=3).map(|last| lab.rule(last).unwrap()).collect();
    becomes(|| lab.control.ask("rules") == "ok rules=3 waiting=0 lost=3 leaving=0");
    assert!((1..=3).all(|last| !lab.hits(last)));
    rules.clear();

    // Longer than a test takes, so that what waits is seen; other faults end the wait.
    lab.faults("lag:60000+destroy_lag:60000+seed:1");
    let slow = lab.rule(1).unwrap();
    assert!(!lab.hits(1));
    assert_eq!(lab.control.ask("rules"), "ok rules=1 waiting=1 lost=0 leaving=0");
    lab.faults("destroy_lag:60000");
    assert!(lab.hits(1));
    slow.destroy().unwrap();
    assert!(lab.hits(1));
    assert_eq!(lab.control.ask("rules"), "ok rules=0 waiting=0 lost=0 leaving=1");
    let new = lab.rule(1).unwrap();
    lab.faults("none");
    assert!(lab.hits(1));
    assert_eq!(packets(&new), Some(1), "the old rule took the packet before");
    drop(new);

    lab.faults("lag:20+destroy_lag:20");
    let rules: Vec<_> = (1..=20).map(|last| lab.rule(last).unwrap()).collect();
    becomes(|| lab.control.ask("rules") == "ok rules=20 waiting=0 lost=0 leaving=0");
    assert!((1..=20).all(|last| lab.hits(last)));
    drop(rules);
    becomes(|| lab.control.ask("rules") == "ok rules=0 waiting=0 lost=0 leaving=0");
    assert!((1..=20).all(|last| !lab.hits(last)));
    lab.end();
}

#[test]
#[ignore = "starts EAL: run by a_card_is_as_unreliable_as_it_is_told_to_be in a process of its own"]
fn body_of_a_queue_that_stalls() {
    let mut lab = Lab::new(",faults=stall:p0");
    for number in 0..20 {
        lab.rig.wire("p0").send(&plain(&[number])).unwrap();
    }
    let missed = |rig: &Rig| rig.port("p0").stats().unwrap().rx_missed;
    becomes(|| missed(&lab.rig) == 12);
    assert_eq!(lab.rig.missed("p0", SILENCE), None);
    // Another representor's queue is as it was.
    lab.rig.wire("pf0vf0").send(&plain(b"other")).unwrap();
    assert_eq!(lab.rig.missed("pf0vf0", PATIENCE), Some(plain(b"other")));
    let shown = lab.control.ask("show");
    let bursts = shown.strip_prefix("ok faults=stall:p0 hits=stall:p0:").expect("it was asked for frames");
    assert!(bursts.parse::<u64>().unwrap() > 0);

    // Who sleeps until a frame comes sleeps on, and is woken when the stall ends.
    let queue = &mut lab.rig.ports.get_mut(&crate::id("p0")).unwrap().1.rx[0];
    queue.arm_interrupt().unwrap();
    let woken = |milliseconds: u16| {
        let fd = queue.interrupt_fd().unwrap();
        poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], milliseconds).unwrap() == 1
    };
    assert!(!woken(50));
    assert_eq!(lab.control.ask("faults none"), "ok");
    assert!(woken(5000));
    queue.disarm_interrupt().unwrap();
    let mut burst = Burst::new();
    assert_eq!(queue.receive(&mut burst), 8);
    let payloads: Vec<u8> = burst.drain().map(|mbuf| mbuf.data().unwrap()[42]).collect();
    assert_eq!(payloads, [0, 1, 2, 3, 4, 5, 6, 7]);
    let stats = lab.rig.port("p0").stats().unwrap();
    assert_eq!((stats.rx_packets, stats.rx_missed), (8, 12));
    lab.end();
}

#[test]
#[ignore = "starts EAL: run by a_card_is_as_unreliable_as_it_is_told_to_be in a process of its own"]
fn body_of_the_control_socket() {
    let mut lab = Lab::new("");
    let path = lab.path();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    // What is refused changes nothing.
    lab.faults("lag:5");
    for request in
        ["", "shows", "faults colour:red", "faults lag:5+lag:6", "faults stall:pf0vf1", "lose-now x"]
    {
        let answer = lab.control.ask(request);
        assert!(answer.starts_with("error "), "{request}: {answer}");
    }
    lab.control.send(b"\xff\xfe\n");
    assert_eq!(lab.control.answer(), "error the request is not UTF-8");
    assert_eq!(lab.control.ask("show"), "ok faults=lag:5 hits=none");
    lab.faults("none");

    // Several lines at once, and one in pieces.
    lab.control.send(b"show\nrules\nsh");
    assert_eq!(lab.control.answer(), "ok faults=none hits=none");
    assert_eq!(lab.control.answer(), "ok rules=0 waiting=0 lost=0 leaving=0");
    lab.control.send(b"ow\n");
    assert_eq!(lab.control.answer(), "ok faults=none hits=none");

    // Eight clients at a time, each of which may go.
    let mut others: Vec<Client> = (0..7).map(|_| Client::connect(&path)).collect();
    for other in &mut others {
        assert_eq!(other.ask("show"), "ok faults=none hits=none");
    }
    let mut ninth = Client::connect(&path);
    assert_eq!(ninth.answer(), "error 8 clients are connected");
    assert!(ninth.is_over());
    others.pop();
    becomes(|| {
        let mut next = Client::connect(&path);
        next.ask("show").starts_with("ok")
    });

    // A line without end, and a client that asks and asks and reads nothing.
    let mut endless = others.pop().unwrap();
    endless.send(&[b'x'; 4097]);
    assert_eq!(endless.answer(), "error a request has at most 4096 bytes");
    assert!(endless.is_over());
    let mut deaf = others.pop().unwrap();
    let end = Instant::now() + PATIENCE;
    let requests = "show\n".repeat(800);
    while deaf.answers.get_ref().write_all(requests.as_bytes()).is_ok() {
        assert!(Instant::now() < end, "the switch goes on answering who does not read");
    }
    assert!(deaf.is_over());
    // Meanwhile the switch forwards, and answers the others.
    assert!(!lab.hits(1));
    assert_eq!(lab.control.ask("show"), "ok faults=none hits=none");
    drop(others);
    lab.end();
}
