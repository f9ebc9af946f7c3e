//! The control socket: whoever may open it makes the card unreliable while it runs, and looks at it.
//!
//! One request a line, one line of answer to each, `ok ...` or `error ...`:
//!
//! | request | answer |
//! |---|---|
//! | `faults <text>` | `ok`: these faults are in force, in place of those before |
//! | `lose-now <n>`, `lose-now all` | `ok lost=<n>`: so many more rules are lost |
//! | `show` | `ok faults=<text> hits=<text>`: the faults in force, and how often each was met |
//! | `rules` | `ok rules=<n> waiting=<n> lost=<n> leaving=<n>` |
//! | `synth <port> start <words>`, `synth <port> stop` | `ok`: the port sends that, or no more |
//! | `synth show` | `ok <port> source=...; <port> source=...`: what went in and came out by such ports |
//! | `synth reset` | `ok`: all of it is forgotten, and sources begin anew |
//!
//! What is not understood whole changes nothing. A client that sends a longer line than there is, or does
//! not read its answers, is disconnected; the switch's thread never waits for one.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nic_flow::PortId;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, listen, send, socket,
};
use nix::sys::stat::{Mode, fchmod};
use soft_eswitch::{Faults, FaultsError, NoPort};

use crate::backing::{Backing, Synth, Traffic, TrafficError};
use crate::card::Card;

/// The longest request, without its end.
const MAX_LINE: usize = 4096;
/// Clients at a time.
const MAX_CLIENTS: usize = 8;
/// Who may open the socket: its owner.
const MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// The event of the listener; the others are those of clients, by their place.
const LISTENER: u64 = u64::MAX;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("{path}: {why}")]
    Socket { path: String, why: nix::Error },
    #[error("{path} is there, and is no socket")]
    InTheWay { path: String },
    #[error("another process listens on {path}")]
    InUse { path: String },
}

/// Why a request was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("{0:?} is no request; known are faults, lose-now, show, rules and synth")]
    Unknown(String),
    #[error("lose-now {0:?}: a number, or all, is needed")]
    Number(String),
    #[error("faults {0}")]
    Faults(#[from] FaultsError),
    #[error("faults: {0}")]
    Port(#[from] NoPort),
    #[error("synth {0:?}: <port> start <words>, <port> stop, show or reset is needed")]
    Synth(String),
    #[error("synth: {0}")]
    Traffic(#[from] TrafficError),
    #[error("synth: {0} is no synth port of this device")]
    NoSynth(PortId),
    #[error("the request is not UTF-8")]
    Encoding,
    #[error("a request has at most {MAX_LINE} bytes")]
    TooLong,
    #[error("{MAX_CLIENTS} clients are connected")]
    TooMany,
}

/// A request.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Faults(Faults),
    Lose(usize),
    Show,
    Rules,
    /// What a source sends from now on, if anything.
    Synth(PortId, Option<Traffic>),
    SynthShow,
    SynthReset,
}

/// The socket and its clients.
pub(crate) struct Control {
    epoll: Epoll,
    listener: UnixListener,
    clients: [Option<Client>; MAX_CLIENTS],
    path: PathBuf,
    /// The socket's file: another that took its place is left alone.
    inode: u64,
}

impl Control {
    pub(crate) fn open(path: &str) -> Result<Control, ControlError> {
        make_room(path)?;
        Control::listen(path).map_err(|why| ControlError::Socket { path: path.into(), why })
    }

    fn listen(path: &str) -> nix::Result<Control> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        // The file takes its mode from the socket (unix(7)): there is no moment with a wider one.
        fchmod(&socket, MODE)?;
        bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        listen(&socket, Backlog::new(MAX_CLIENTS as i32)?)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // By the edge: a connection that cannot be accepted must not keep the thread busy.
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, LISTENER))?;
        let inode = nix::sys::stat::lstat(path)?.st_ino;
        let clients = Default::default();
        Ok(Control { epoll, listener: socket.into(), clients, path: path.into(), inode })
    }

    /// One for all that may happen: an epoll is readable when one of its own is.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Answers what waits.
    pub(crate) fn serve(&mut self, card: &Card) {
        let mut events = [EpollEvent::empty(); MAX_CLIENTS + 1];
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &events[..ready] {
            match event.data() {
                LISTENER => self.accept(),
                place => {
                    let Some(place) = self.clients.get_mut(place as usize) else { continue };
                    // To close a connection takes its events away.
                    *place = place.take().and_then(|client| client.serve(card));
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let client = Client { stream, unread: Vec::new() };
            let Some(place) = self.clients.iter().position(Option::is_none) else {
                client.tell(Err(Refusal::TooMany));
                continue;
            };
            let event = EpollEvent::new(EpollFlags::EPOLLIN, place as u64);
            if client.stream.set_nonblocking(true).is_ok() && self.epoll.add(&client.stream, event).is_ok() {
                self.clients[place] = Some(client);
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = self.clients.iter().flatten().count();
        f.debug_struct("Control").field("path", &self.path).field("clients", &clients).finish_non_exhaustive()
    }
}

/// Removes what a process left that ended without ceremony.
fn make_room(path: &str) -> Result<(), ControlError> {
    let Ok(left) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !left.file_type().is_socket() {
        return Err(ControlError::InTheWay { path: path.into() });
    }
    if UnixStream::connect(Path::new(path)).is_ok() {
        return Err(ControlError::InUse { path: path.into() });
    }
    // What cannot be removed makes the bind fail, which says why.
    let _ = std::fs::remove_file(path);
    Ok(())
}

/// A connection.
struct Client {
    stream: UnixStream,
    /// What came behind the last whole line.
    unread: Vec<u8>,
}

impl Client {
    /// Reads once and answers all that is whole; `None` if the connection is over.
    fn serve(mut self, card: &Card) -> Option<Client> {
        let mut bytes = [0; MAX_LINE];
        let length = match self.stream.read(&mut bytes) {
            Ok(0) => return None,
            Ok(length) => length,
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(_) => return None,
        };
        self.unread.extend_from_slice(&bytes[..length]);
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            let line = &line[..end];
            let answer = if end > MAX_LINE { Err(Refusal::TooLong) } else { answer(line, card) };
            if !self.tell(answer) {
                return None;
            }
        }
        if self.unread.len() > MAX_LINE {
            self.tell(Err(Refusal::TooLong));
            return None;
        }
        Some(self)
    }

    /// False if the client does not take the answer: it does not read, or it is gone.
    fn tell(&self, answer: Result<String, Refusal>) -> bool {
        let line = match answer {
            Ok(text) if text.is_empty() => "ok\n".into(),
            Ok(text) => format!("ok {text}\n"),
            Err(refusal) => format!("error {refusal}\n"),
        };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        send(self.stream.as_raw_fd(), line.as_bytes(), flags).is_ok_and(|sent| sent == line.len())
    }
}

fn answer(line: &[u8], card: &Card) -> Result<String, Refusal> {
    Ok(match read(line)? {
        Request::Faults(faults) => {
            card.set_faults(faults)?;
            String::new()
        }
        Request::Lose(count) => format!("lost={}", card.call(|switch| switch.lose(count))),
        Request::Show => format!("faults={} hits={}", card.switch.faults(), card.hits()),
        Request::Rules => {
            let counts = card.call(soft_eswitch::Switch::rule_counts);
            let soft_eswitch::RuleCounts { rules, waiting, lost, leaving } = counts;
            format!("rules={rules} waiting={waiting} lost={lost} leaving={leaving}")
        }
        Request::Synth(port, traffic) => {
            let synth = synths(card).find(|(id, _)| *id == port).ok_or(Refusal::NoSynth(port))?.1;
            match traffic {
                Some(traffic) => synth.send_from_now(traffic),
                None => synth.stop(),
            }
            String::new()
        }
        Request::SynthShow => {
            let describe = |(_, synth): (PortId, &Synth)| synth.to_string();
            synths(card).map(describe).collect::<Vec<_>>().join("; ")
        }
        Request::SynthReset => {
            synths(card).for_each(|(_, synth)| synth.reset());
            String::new()
        }
    })
}

/// The ports that are sources and sinks.
fn synths(card: &Card) -> impl Iterator<Item = (PortId, &Synth)> {
    card.ports.iter().filter_map(|port| match &port.backing {
        Backing::Synth(synth) => Some((port.id, &**synth)),
        _ => None,
    })
}

fn read(line: &[u8]) -> Result<Request, Refusal> {
    let line = str::from_utf8(line).map_err(|_| Refusal::Encoding)?;
    match line.split_once(' ').unwrap_or((line, "")) {
        ("show", "") => Ok(Request::Show),
        ("rules", "") => Ok(Request::Rules),
        ("faults", text) => Ok(Request::Faults(text.parse()?)),
        ("synth", text) => read_synth(text),
        ("lose-now", "all") => Ok(Request::Lose(usize::MAX)),
        ("lose-now", count) => count.parse().map(Request::Lose).map_err(|_| Refusal::Number(count.into())),
        _ => Err(Refusal::Unknown(line.into())),
    }
}

fn read_synth(text: &str) -> Result<Request, Refusal> {
    let wrong = || Refusal::Synth(text.into());
    let words: Vec<&str> = text.split(' ').collect();
    let port = || words[0].parse().map_err(|_| wrong());
    match words[..] {
        ["show"] => Ok(Request::SynthShow),
        ["reset"] => Ok(Request::SynthReset),
        [_, "stop"] => Ok(Request::Synth(port()?, None)),
        [_, "start", traffic] => Ok(Request::Synth(port()?, Some(traffic.parse()?))),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_understood_whole_or_not_at_all() {
        assert_eq!(read(b"show"), Ok(Request::Show));
        assert_eq!(read(b"lose-now all"), Ok(Request::Lose(usize::MAX)));
        assert_eq!(read(b"lose-now 3"), Ok(Request::Lose(3)));
        assert_eq!(read(b"faults lag:5"), Ok(Request::Faults("lag:5".parse().unwrap())));
        let p0 = PortId::uplink(0).unwrap();
        let traffic = "rate:5".parse().unwrap();
        assert_eq!(read(b"synth p0 start rate:5"), Ok(Request::Synth(p0, Some(traffic))));
        assert_eq!(read(b"synth p0 stop"), Ok(Request::Synth(p0, None)));
        for (line, part) in [
            (&b""[..], "\"\" is no request"),
            (b"show me", "\"show me\""),
            (b"Show", "\"Show\""),
            (b"rules\r", "\"rules\\r\""),
            (b"faults", "\"\" is no fault"),
            (b"faults lag:5+colour:red", "\"colour:red\""),
            (b"faults lag:5 lose:1", "\"lag:5 lose:1\""),
            (b"synth", "synth \"\""),
            (b"synth pf0vf0 start", "\"pf0vf0 start\""),
            (b"synth eth0 stop", "\"eth0 stop\""),
            (b"synth p0 start flows:many", "\"flows:many\""),
            (b"lose-now", "lose-now \"\""),
            (b"lose-now -1", "\"-1\""),
            (b"lose-now all 3", "\"all 3\""),
            (b"\xff", "UTF-8"),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }
}
