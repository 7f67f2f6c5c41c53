// SPDX-License-Identifier: MIT OR Apache-2.0
//! The socket's path: taken over from the dead, not from the living, and removed in the end.
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use vfio_user_server::{BindError, Listener};

fn socket() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    (directory, path)
}

#[test]
fn a_path_is_made_and_removed() {
    let (_directory, path) = socket();
    let listener = Listener::bind(&path).unwrap();
    assert_eq!(listener.path(), path);
    UnixStream::connect(&path).unwrap();
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn a_private_socket_is_its_users_alone_and_else_like_any_other() {
    let (_directory, path) = socket();
    let listener = Listener::bind_private(&path).unwrap();
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let _client = UnixStream::connect(&path).unwrap();
    listener.accept().unwrap();
    assert!(matches!(Listener::bind_private(&path), Err(BindError::InUse(_))));
    drop(listener);
    assert!(!path.exists());
    drop(UnixListener::bind(&path).unwrap());
    Listener::bind_private(&path).unwrap();
}

#[test]
fn a_stale_socket_is_replaced() {
    let (_directory, path) = socket();
    drop(UnixListener::bind(&path).unwrap()); // Leaves its path behind, as a killed server does.
    assert!(path.exists());
    let _listener = Listener::bind(&path).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_live_socket_is_refused_and_left_alone() {
    let (_directory, path) = socket();
    let listener = Listener::bind(&path).unwrap();
    let error = Listener::bind(&path).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    assert_eq!(error.to_string(), format!("{}: another server is listening there", path.display()));
    UnixStream::connect(&path).unwrap();
    drop(listener);
    Listener::bind(&path).unwrap();
}

#[test]
fn a_live_socket_with_a_full_queue_is_refused() {
    let (_directory, path) = socket();
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let _fills = UnixStream::connect(&path).unwrap();
    assert!(matches!(Listener::bind(&path), Err(BindError::InUse(_))));
}

#[test]
fn what_is_no_socket_is_never_removed() {
    let (directory, path) = socket();
    fs::write(&path, "precious").unwrap();
    assert!(matches!(Listener::bind(&path), Err(BindError::NotASocket(_))));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(Listener::bind(&link), Err(BindError::NotASocket(_))));
    assert!(matches!(Listener::bind(directory.path()), Err(BindError::NotASocket(_))));
}

#[test]
fn the_successors_socket_is_not_removed() {
    let (_directory, path) = socket();
    let old = Listener::bind(&path).unwrap();
    fs::remove_file(&path).unwrap(); // By hand, say.
    let _new = Listener::bind(&path).unwrap();
    drop(old);
    UnixStream::connect(&path).unwrap();
}

#[test]
fn impossible_paths_are_errors_that_name_them() {
    let (directory, _) = socket();
    for path in [directory.path().join("no/such/socket"), directory.path().join("x".repeat(200))] {
        let error = Listener::bind(&path).unwrap_err();
        assert!(matches!(error, BindError::Io { .. }));
        assert!(error.to_string().starts_with(path.parent().unwrap().to_str().unwrap()), "{error}");
    }
    assert!(Listener::bind(Path::new("")).is_err());
}

#[test]
fn of_many_who_want_a_stale_path_one_gets_it() {
    let (_directory, path) = socket();
    for _ in 0..20 {
        drop(UnixListener::bind(&path).unwrap());
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| Listener::bind(&path))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        UnixStream::connect(&path).unwrap();
    }
}

#[test]
fn a_socket_that_somebody_else_made_is_served_and_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = Listener::from_socket(UnixListener::bind(&path).unwrap()).unwrap();
    assert_eq!(listener.path(), path);
    let _client = UnixStream::connect(&path).unwrap();
    listener.accept().unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(listener);
    assert!(path.exists());
}

#[test]
fn a_socket_can_be_made_for_another_process() {
    let (_directory, path) = socket();
    let socket = Listener::bind(&path).unwrap().into_socket().unwrap();
    assert!(path.exists(), "its path stays");
    let listener = Listener::adopt(socket).unwrap();
    assert_eq!(listener.path(), path);
    let error = listener.accept().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "it never waits");
    let _client = UnixStream::connect(&path).unwrap();
    listener.accept().unwrap();
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn what_is_no_listening_socket_with_a_path_is_not_adopted() {
    use rustix::net::{AddressFamily, SocketType, socket};
    let (directory, path) = self::socket();
    let refused = |socket: std::os::fd::OwnedFd| Listener::adopt(socket).unwrap_err().to_string();
    let file = fs::File::create(directory.path().join("file")).unwrap();
    let (one, _other) = UnixStream::pair().unwrap();
    let abstract_name = SocketAddr::from_abstract_name(b"my-rng-test-abstract").unwrap();
    for (socket, says) in [
        (file.into(), "it is no socket"),
        (std::net::TcpListener::bind("127.0.0.1:0").unwrap().into(), "another kind"),
        (socket(AddressFamily::UNIX, SocketType::DGRAM, None).unwrap(), "another kind"),
        (socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap(), "does not listen"),
        (one.into(), "does not listen"),
        (UnixListener::bind_addr(&abstract_name).unwrap().into(), "another address"),
    ] {
        let error = refused(socket);
        assert!(error.contains(says) && error.contains("expected"), "{error}");
    }
    let listener = UnixListener::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(refused(listener.try_clone().unwrap().into()).contains("No such file"));
    fs::write(&path, "x").unwrap();
    assert!(refused(listener.into()).contains("is no socket"));
    assert!(path.exists(), "what is refused is left alone");
}
