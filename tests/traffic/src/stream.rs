//! A stream of known bytes over TCP.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The period of the pattern: prime, so that no packet or buffer size divides it.
const PERIOD: usize = 65_521;

const CONNECT: Duration = Duration::from_secs(10);

/// The bytes of the stream, one period and as much again.
fn pattern() -> Vec<u8> {
    let one = (0..PERIOD).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8);
    one.clone().chain(one).collect()
}

/// Sends `bytes` octets and waits until the receiver has them all.
pub(crate) fn send(to: SocketAddr, bytes: u64) -> io::Result<Value> {
    let pattern = pattern();
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&to, CONNECT)?;
    stream.set_read_timeout(Some(CONNECT))?;
    let mut sent = 0u64;
    while sent < bytes {
        let from = (sent % PERIOD as u64) as usize;
        let length = (bytes - sent).min(PERIOD as u64) as usize;
        stream.write_all(&pattern[from..from + length])?;
        sent += length as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    // The receiver closes when it has read the end.
    let answered = stream.read(&mut [0; 1])?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(json!({ "sent": sent, "answered": answered, "seconds": seconds }))
}

/// Accepts one stream and reads it to its end.
pub(crate) fn receive(listen: SocketAddr, patience: Duration) -> io::Result<Value> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    crate::ready()?;
    let start = Instant::now();
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && start.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    };
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(patience))?;
    check(&mut stream)
}

fn check(stream: &mut impl Read) -> io::Result<Value> {
    let pattern = pattern();
    let mut buffer = vec![0; PERIOD];
    let (mut received, mut wrong) = (0u64, 0u64);
    let start = Instant::now();
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        let from = (received % PERIOD as u64) as usize;
        let expected = &pattern[from..from + length];
        wrong += buffer[..length].iter().zip(expected).filter(|(a, b)| a != b).count() as u64;
        received += length as u64;
    }
    Ok(json!({ "received": received, "wrong": wrong, "seconds": start.elapsed().as_secs_f64() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_byte_is_counted_and_a_lost_one_shifts_the_rest() {
        let good: Vec<u8> = pattern()[..PERIOD].repeat(3);
        assert_eq!(check(&mut &good[..]).expect("a slice")["wrong"], 0);
        let mut bad = good.clone();
        bad[70_000] ^= 1;
        assert_eq!(check(&mut &bad[..]).expect("a slice")["wrong"], 1);
        bad = good;
        bad.remove(5);
        assert!(check(&mut &bad[..]).expect("a slice")["wrong"].as_u64() > Some(1000));
    }
}
