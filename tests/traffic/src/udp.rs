//! Numbered UDP packets.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use serde_json::{Value, json};

/// Tells our packets from others that a socket may get.
const MARK: [u8; 8] = *b"nictraff";

/// Packets wait in the receiver's socket while it has no CPU: room for some ten thousand.
const RECEIVE_BUFFER: usize = 64 << 20;

/// Source ports that are used in turn when each flow has a length.
const PORTS: u64 = 10_000;

/// What to send.
pub(crate) struct Sending {
    pub(crate) to: SocketAddr,
    pub(crate) from: Option<SocketAddr>,
    pub(crate) numbers: Range<u64>,
    pub(crate) rate: u64,
    pub(crate) size: usize,
    /// Packets from one source port, before the next one is used.
    pub(crate) flow_length: Option<u64>,
    /// No more is sent when this is true.
    pub(crate) stop: Arc<AtomicBool>,
}

impl Sending {
    /// The socket of a flow, of which the first has the number 0.
    fn socket(&self, flow: u64) -> io::Result<UdpSocket> {
        let any = || if self.to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let mut from: SocketAddr = self.from.unwrap_or_else(any);
        if self.flow_length.is_some() {
            let port = u64::from(from.port()) + flow % PORTS;
            let port = u16::try_from(port).map_err(|_| io::Error::other("no source port is left"))?;
            from.set_port(port);
        }
        let socket = UdpSocket::bind(from)?;
        socket.connect(self.to)?;
        Ok(socket)
    }
}

/// Sends all numbers once, evenly spread.
pub(crate) fn send(sending: &Sending) -> io::Result<Value> {
    let mut socket = sending.socket(0)?;
    let mut flows = 1u64;
    let mut packet = vec![0; sending.size];
    packet[8..16].copy_from_slice(&MARK);
    let (mut sent, mut refused) = (0u64, 0u64);
    let start = Instant::now();
    for number in sending.numbers.clone() {
        let due = Duration::from_nanos((sent + refused).saturating_mul(1_000_000_000) / sending.rate);
        // A sleep is rarely shorter than this; what is late is sent at once.
        if due > start.elapsed() + Duration::from_micros(200) {
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
        if sending.stop.load(Ordering::Relaxed) {
            break;
        }
        if sending.flow_length.is_some_and(|length| sent + refused == flows * length) {
            socket = sending.socket(flows)?;
            flows += 1;
        }
        packet[..8].copy_from_slice(&number.to_be_bytes());
        match socket.send(&packet) {
            Ok(_) => sent += 1,
            // The answer to an earlier packet that nobody received, or no room in the device.
            Err(_) => refused += 1,
        }
    }
    Ok(json!({ "sent": sent, "refused": refused, "flows": flows, "seconds": start.elapsed().as_secs_f64() }))
}

/// What came.
struct Tally {
    seen: Vec<bool>,
    received: u64,
    distinct: u64,
    duplicates: u64,
    reordered: u64,
    strangers: u64,
    highest: Option<u64>,
}

impl Tally {
    fn new(count: u64) -> io::Result<Tally> {
        let count = usize::try_from(count).map_err(io::Error::other)?;
        Ok(Tally {
            seen: vec![false; count],
            received: 0,
            distinct: 0,
            duplicates: 0,
            reordered: 0,
            strangers: 0,
            highest: None,
        })
    }

    fn count(&mut self, packet: &[u8]) {
        let number = packet.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
        let ours = packet.get(8..16) == Some(&MARK);
        let place = number.filter(|_| ours).and_then(|number| usize::try_from(number).ok());
        let (Some(number), Some(seen)) = (number, place.and_then(|place| self.seen.get_mut(place))) else {
            self.strangers += 1;
            return;
        };
        self.received += 1;
        if std::mem::replace(seen, true) {
            self.duplicates += 1;
        } else {
            self.distinct += 1;
        }
        if self.highest.is_some_and(|highest| number < highest) {
            self.reordered += 1;
        }
        self.highest = self.highest.max(Some(number));
    }

    fn complete(&self) -> bool {
        self.distinct == self.seen.len() as u64
    }
}

/// Receives until all numbers below `count` have come.
pub(crate) fn receive(
    listen: SocketAddr,
    count: u64,
    idle: Duration,
    patience: Duration,
) -> io::Result<Value> {
    let socket = UdpSocket::bind(listen)?;
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        // Without the right to force it, as much as anybody may have.
        setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    }
    let mut tally = Tally::new(count)?;
    let mut buffer = [0; 9216];
    socket.set_read_timeout(Some(patience))?;
    crate::ready()?;
    let mut first = None;
    let mut last = Instant::now();
    let mut longest_gap = Duration::ZERO;
    while !tally.complete() {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                tally.count(&buffer[..length]);
                let now = Instant::now();
                if first.is_some() {
                    longest_gap = longest_gap.max(now - last);
                }
                last = now;
                if first.is_none() {
                    first = Some(last);
                    socket.set_read_timeout(Some(idle))?;
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(json!({
        "received": tally.received,
        "distinct": tally.distinct,
        "lost": count - tally.distinct,
        "duplicates": tally.duplicates,
        "reordered": tally.reordered,
        "strangers": tally.strangers,
        "longest_gap": longest_gap.as_secs_f64(),
        "seconds": first.map_or(0.0, |first| (last - first).as_secs_f64()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u64) -> Vec<u8> {
        [&number.to_be_bytes()[..], &MARK, &[0; 10]].concat()
    }

    #[test]
    fn loss_order_and_doubles_are_told_apart() {
        let mut tally = Tally::new(4).expect("it fits");
        for number in [0, 2, 1, 2] {
            tally.count(&packet(number));
        }
        tally.count(b"short");
        tally.count(&packet(4));
        assert_eq!((tally.received, tally.distinct, tally.duplicates), (4, 3, 1));
        assert_eq!((tally.reordered, tally.strangers, tally.complete()), (1, 2, false));
        tally.count(&packet(3));
        assert!(tally.complete());
    }

    #[test]
    fn what_is_sent_over_loopback_is_received() {
        // The port of a socket that has just been closed is free.
        let free = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("loopback");
        let second = Duration::from_secs(1);
        let receiver =
            std::thread::spawn(move || receive(free, 100, second, 20 * second).expect("it is free"));
        let sending = |first| Sending {
            to: free,
            from: None,
            numbers: first..100,
            rate: 10_000,
            size: 16,
            flow_length: None,
            stop: Arc::default(),
        };
        // The receiver may not listen yet: what it misses comes again.
        while !receiver.is_finished() {
            send(&sending(0)).expect("loopback takes all");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(receiver.join().expect("it ends")["lost"], 0);
    }

    #[test]
    fn each_flow_has_a_source_port_of_its_own_until_told_to_stop() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let to = receiver.local_addr().expect("it is bound");
        receiver.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket has one");
        let stop = Arc::new(AtomicBool::new(false));
        let sending = Sending {
            to,
            from: Some(([127, 0, 0, 1], 21_000).into()),
            numbers: 0..u64::MAX,
            rate: 100_000,
            size: 16,
            flow_length: Some(3),
            stop: Arc::clone(&stop),
        };
        let sender = std::thread::spawn(move || send(&sending).expect("its ports are free"));
        let mut ports = Vec::new();
        for number in 0..9u64 {
            let mut packet = [0; 16];
            let (_, from) = receiver.recv_from(&mut packet).expect("loopback loses nothing");
            assert_eq!(packet[..8], number.to_be_bytes());
            ports.push(from.port());
        }
        assert_eq!(ports, [21_000, 21_000, 21_000, 21_001, 21_001, 21_001, 21_002, 21_002, 21_002]);
        stop.store(true, Ordering::Relaxed);
        let told = sender.join().expect("it ends");
        assert!(told["flows"].as_u64() >= Some(3), "{told}");
    }
}
