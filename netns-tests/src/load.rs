//! A transfer that runs while something else is done.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use flowmon::lab::{Namespace, traffic::Exchange};
use socket2::SockRef;

/// Longer than a transfer stands still on a busy machine, lost segments included.
const PATIENCE: Duration = Duration::from_secs(30);

/// A TCP connection on which the client sends, as fast as it can, until it is told to end.
#[derive(Debug)]
pub struct Load {
    client: SocketAddr,
    server: SocketAddr,
    arrived: Arc<AtomicU64>,
    enough: Arc<AtomicBool>,
    sender: JoinHandle<io::Result<u64>>,
    receiver: JoinHandle<io::Result<u64>>,
    ends: [TcpStream; 2],
}

impl Load {
    /// Connects to `address`, where the server listens (any port for port 0), and sends.
    ///
    /// # Panics
    ///
    /// When there is no connection.
    pub fn start(client: &Namespace, server: &Namespace, address: SocketAddr) -> Self {
        Self::start_with(client, server, address, |mut stream| {
            static PORTION: [u8; 64 << 10] = [b'.'; 64 << 10];
            stream.write(&PORTION)
        })
    }

    /// As [`Self::start`], with a way of its own to send a portion; it says how many bytes that
    /// were.
    ///
    /// # Panics
    ///
    /// When there is no connection.
    pub fn start_with(
        client: &Namespace,
        server: &Namespace,
        address: SocketAddr,
        send: impl FnMut(&TcpStream) -> io::Result<usize> + Send + 'static,
    ) -> Self {
        connect(client, server, address, send)
            .unwrap_or_else(|error| panic!("a transfer to {address}: {error}"))
    }

    /// Waits until that many bytes more have arrived.
    ///
    /// # Panics
    ///
    /// When they do not.
    pub fn wait_for(&self, bytes: u64) {
        let goal = self.arrived.load(Relaxed) + bytes;
        let deadline = Instant::now() + PATIENCE;
        while self.arrived.load(Relaxed) < goal {
            assert!(
                Instant::now() < deadline && !self.receiver.is_finished(),
                "the transfer stands still, {bytes} bytes before its goal"
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the transfer in order: all that was sent has arrived.
    ///
    /// # Panics
    ///
    /// When it has not.
    pub fn end(self) -> Exchange {
        self.enough.store(true, Relaxed);
        let whole = |thread| join(thread).unwrap_or_else(|error| panic!("the transfer: {error}"));
        let (sent, arrived) = (whole(self.sender), whole(self.receiver));
        assert_eq!(sent, arrived, "bytes sent, bytes that arrived");
        Exchange {
            client: self.client,
            server: self.server,
            sent,
            received: 0,
        }
    }

    /// Breaks the connection off at both ends, which say nothing more about it. What it says was
    /// sent is what has arrived.
    ///
    /// # Panics
    ///
    /// When that can't be done.
    pub fn abandon(self) -> Exchange {
        self.enough.store(true, Relaxed);
        for end in self.ends {
            // Closing resets it (`tcp_close`), and waking who reads or writes it comes first.
            let reset = SockRef::from(&end).set_linger(Some(Duration::ZERO));
            reset.unwrap_or_else(|error| panic!("breaking off: {error}"));
            // The other end may have done it already.
            let _shut = end.shutdown(Shutdown::Both);
        }
        let (_sent, _arrived) = (join(self.sender), join(self.receiver));
        Exchange {
            client: self.client,
            server: self.server,
            sent: self.arrived.load(Relaxed),
            received: 0,
        }
    }
}

fn join(thread: JoinHandle<io::Result<u64>>) -> io::Result<u64> {
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("a panic")))
}

fn connect(
    client: &Namespace,
    server: &Namespace,
    address: SocketAddr,
    mut send: impl FnMut(&TcpStream) -> io::Result<usize> + Send + 'static,
) -> io::Result<Load> {
    let bind = || TcpListener::bind(address);
    let listener = server.run(bind).map_err(io::Error::other).flatten()?;
    let address = listener.local_addr()?;
    let connect = || TcpStream::connect_timeout(&address, PATIENCE);
    let near = client.run(connect).map_err(io::Error::other).flatten()?;
    let (mut far, peer) = listener.accept()?;
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
    }
    let ends = [near.try_clone()?, far.try_clone()?];
    let arrived = Arc::new(AtomicU64::new(0));
    let enough = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&enough);
    let sender = thread::spawn(move || {
        let mut bytes = 0;
        while !stop.load(Relaxed) {
            bytes += send(&near)? as u64;
        }
        near.shutdown(Shutdown::Write)?;
        // The server's FIN: it has everything.
        io::copy(&mut &near, &mut io::sink())?;
        Ok(bytes)
    });
    let progress = Arc::clone(&arrived);
    let receiver = thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        loop {
            match far.read(&mut buffer)? {
                0 => {
                    far.shutdown(Shutdown::Write)?;
                    return Ok(progress.load(Relaxed));
                }
                bytes => progress.fetch_add(bytes as u64, Relaxed),
            };
        }
    });
    Ok(Load {
        client: peer,
        server: address,
        arrived,
        enough,
        sender,
        receiver,
        ends,
    })
}
