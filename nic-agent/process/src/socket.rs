//! A unix socket to listen on: made with the right mode from its first moment, removed at the end.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen as start, socket};
use nix::sys::stat::{Mode, fchmod};
use tokio::net::UnixListener;

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens there.
    #[error("another process listens on {}", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket is in the way; it is left alone.
    #[error("{} exists and is no socket", .0.display())]
    InTheWay(PathBuf),
    /// The system refused.
    #[error("cannot listen on {}: {source}", path.display())]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The socket's file. Dropped, it is removed, unless another has taken its place.
#[derive(Debug)]
#[must_use = "the socket's file is removed when this is dropped"]
pub struct SocketFile {
    path: PathBuf,
    made: Identity,
}

/// Tells a file from another that took its place: an inode's number alone is soon used again.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(path: &Path) -> io::Result<Identity> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(Identity { inode: metadata.ino(), changed: (metadata.ctime(), metadata.ctime_nsec()) })
    }
}

/// Listens on a unix socket, in the place of one that nobody listens on any more. Nobody but those
/// whom `mode` names can ever open it. Needs a tokio runtime.
///
/// # Errors
/// See [`SocketError`]; nothing is left behind.
pub fn listen(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), SocketError> {
    let io = |source| SocketError::Io { path: path.to_owned(), source };
    clear(path)?;
    let listener = make(path, mode).map_err(|errno| io(errno.into()))?;
    // What the process's umask took away from the mode.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(io)?;
    let file = SocketFile { path: path.to_owned(), made: Identity::of(path).map_err(io)? };
    Ok((UnixListener::from_std(listener).map_err(io)?, file))
}

/// Makes room for the socket's file.
fn clear(path: &Path) -> Result<(), SocketError> {
    let io = |source| SocketError::Io { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => Err(SocketError::InTheWay(path.to_owned())),
        Ok(_) => match StdUnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(io)
            }
            Ok(_) => Err(SocketError::InUse(path.to_owned())),
            Err(error) => Err(io(error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(folder) => std::fs::create_dir_all(folder).map_err(io),
            None => Ok(()),
        },
        Err(error) => Err(io(error)),
    }
}

fn make(path: &Path, mode: u32) -> nix::Result<StdUnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // The file takes its mode from the socket (unix(7)): there is no moment with a wider one.
    fchmod(&fd, Mode::from_bits_truncate(mode))?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    start(&fd, Backlog::MAXCONN)?;
    Ok(StdUnixListener::from(fd))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let still_ours = Identity::of(&self.path).is_ok_and(|now| now == self.made);
        if still_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn the_socket_has_its_mode_and_goes_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/a.sock");
        let (_listener, file) = listen(&path, 0o662).unwrap();
        assert_eq!(mode(&path), 0o662);
        StdUnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_a_socket_that_nobody_serves_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(listen(&path, 0o600), Err(SocketError::InTheWay(_))));
        std::fs::remove_file(&path).unwrap();
        let (listener, first) = listen(&path, 0o600).unwrap();
        assert!(matches!(listen(&path, 0o600), Err(SocketError::InUse(_))));
        drop(listener);
        let (_listener, _second) = listen(&path, 0o600).unwrap();
        drop(first);
        assert!(path.exists(), "the file is the second one's now");
    }
}
