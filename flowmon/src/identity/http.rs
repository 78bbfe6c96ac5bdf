//! Requests to a daemon on a Unix socket. HTTP/1.0, so that an answer comes as it is and ends with
//! the connection; and whatever the daemon does, an answer has an end in time and in size.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use super::Trouble;

/// An answer that is not complete after this long is none.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The largest answer, in bytes: some ten thousand containers.
const LARGEST: usize = 32 << 20;

/// The largest head of an answer, and the longest line of a stream.
const LARGEST_HEAD: usize = 64 << 10;

/// What to do about a socket that others may not use.
const ADVICE: &str = "; run flowmon as root, or as a member of the socket's group";

/// The body of the answer to `GET path`.
pub(super) async fn get(socket: &Path, path: &str) -> Result<Vec<u8>, Trouble> {
    let whole = async {
        let Stream {
            mut connection,
            mut buffer,
        } = ask(socket, path).await?;
        while connection.read_buf(&mut buffer).await? > 0 {
            if buffer.len() > LARGEST {
                return Err(other(format!("more than {} MB", LARGEST >> 20)));
            }
        }
        Ok(buffer)
    };
    let answer = timeout(PATIENCE, whole).await;
    answer
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| trouble(socket, path, &error))
}

/// The answer to `GET path`, as it comes.
pub(super) async fn follow(socket: &Path, path: &str) -> Result<Stream, Trouble> {
    let answer = timeout(PATIENCE, ask(socket, path)).await;
    answer
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| trouble(socket, path, &error))
}

/// An answer without an end.
pub(super) struct Stream {
    connection: UnixStream,
    /// Bytes that have come and are not used.
    buffer: Vec<u8>,
}

impl Stream {
    /// Waits until something more has come, and forgets it. Fails at the end. Dropping the future
    /// loses nothing.
    pub(super) async fn more(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() && self.connection.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.clear();
        Ok(())
    }
}

async fn ask(socket: &Path, path: &str) -> io::Result<Stream> {
    let mut connection = UnixStream::connect(socket).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut buffer = Vec::new();
    loop {
        if let Some(end) = end_of_head(&buffer) {
            let body = buffer.split_off(end);
            match status(&buffer) {
                Some(200) => {}
                Some(code) => return Err(other(format!("status {code}"))),
                None => return Err(other("no HTTP answer")),
            }
            return Ok(Stream {
                connection,
                buffer: body,
            });
        }
        if buffer.len() > LARGEST_HEAD {
            return Err(other("no end of the answer's head"));
        }
        if connection.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let end = b"\r\n\r\n";
    let at = bytes.windows(end.len()).position(|window| window == end)?;
    Some(at + end.len())
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|&byte| byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words
        .next()
        .filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

fn other(what: impl Into<String>) -> io::Error {
    io::Error::other(what.into())
}

/// Nobody there, or something wrong.
pub(super) fn trouble(socket: &Path, asked: &str, error: &io::Error) -> Trouble {
    let path = asked.split('?').next().unwrap_or_default();
    let socket = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound => Trouble::Absent(format!("there is no {socket}")),
        io::ErrorKind::ConnectionRefused => Trouble::Absent(format!("nobody listens at {socket}")),
        io::ErrorKind::PermissionDenied => Trouble::Broken(format!("{socket}: {error}{ADVICE}")),
        io::ErrorKind::TimedOut => Trouble::Broken(format!(
            "{socket}: no answer to {path} in {} s",
            PATIENCE.as_secs()
        )),
        _ => Trouble::Broken(format!("{socket}: {path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use std::path::PathBuf;
    use tokio::net::UnixListener;

    /// Where a test's daemon listens.
    struct Socket(PathBuf);

    impl std::ops::Deref for Socket {
        type Target = Path;

        fn deref(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Socket {
        fn drop(&mut self) {
            let _removed = std::fs::remove_file(&self.0);
        }
    }

    /// A daemon that says `answer` to everybody, whatever they ask, and then `ends` or not.
    fn daemon(name: &str, answer: Vec<u8>, ends: bool) -> Socket {
        let file = format!("flowmon-{name}-{}.sock", std::process::id());
        let path = std::env::temp_dir().join(file);
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut connection, _)) = listener.accept().await {
                let answer = answer.clone();
                let _asked = connection.read(&mut [0; 1024]).await;
                if ends {
                    tokio::spawn(async move { connection.write_all(&answer).await });
                } else {
                    let _gone = connection.write_all(&answer).await;
                    held.push(connection);
                }
            }
        });
        Socket(path)
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test);
    }

    fn why<T>(result: Result<T, Trouble>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn a_good_answer() {
        run(async {
            let answer = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n[]".to_vec();
            let socket = daemon("good", answer, true);
            assert_eq!(get(&socket, "/containers/json").await, Ok(b"[]".to_vec()));
        });
    }

    #[test]
    fn nobody_there_is_no_trouble() {
        run(async {
            let socket = Path::new("/nowhere/docker.sock");
            let expected = Trouble::Absent("there is no /nowhere/docker.sock".into());
            assert_eq!(get(socket, "/").await, Err(expected));
        });
    }

    #[test]
    fn who_never_answers_is_not_waited_for() {
        run(async {
            let socket = daemon("silent", Vec::new(), false);
            let answer = timeout(PATIENCE * 2, get(&socket, "/x?y")).await;
            assert!(why(answer.unwrap()).ends_with("no answer to /x in 5 s"));
        });
    }

    #[test]
    fn an_answer_without_an_end_is_not_waited_for() {
        run(async {
            let socket = daemon("endless", b"HTTP/1.1 200 OK\r\n\r\n[".to_vec(), false);
            assert!(why(get(&socket, "/").await).contains("no answer"));
        });
    }

    #[test]
    fn too_much_is_not_taken() {
        run(async {
            let mut answer = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
            answer.resize(100 << 20, b'[');
            let socket = daemon("huge", answer, true);
            assert!(why(get(&socket, "/").await).contains("more than 32 MB"));
            let socket = daemon("head", vec![b'x'; 1 << 20], true);
            assert!(why(get(&socket, "/").await).contains("no end of the answer's head"));
        });
    }

    #[test]
    fn garbage_is_no_answer() {
        run(async {
            for answer in [
                &b"\x16\x03\x01\r\n\r\n"[..],
                b"HTTP/1.1 abc\r\n\r\n",
                b"\r\n\r\n",
            ] {
                let socket = daemon("garbage", answer.to_vec(), true);
                assert!(why(get(&socket, "/").await).contains("no HTTP answer"));
            }
            let socket = daemon("error", b"HTTP/1.1 500 Oh\r\n\r\n".to_vec(), true);
            assert!(why(get(&socket, "/").await).contains("status 500"));
        });
    }
}
