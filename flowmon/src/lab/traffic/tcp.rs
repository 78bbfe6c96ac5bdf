//! TCP connections that are opened, used and closed in order, and one that is refused.

use std::io::{self, Read};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use socket2::{Domain, Protocol, Socket, Type};

use super::{Error, Exchange, Namespace, PATIENCE, any, make_in, unexpected};

/// One connection to `address`, where the server listens (any port for port 0). The client sends
/// `request` bytes and closes its direction; then the server sends `response` bytes and closes
/// the other one.
pub fn tcp_transfer(
    client: &Namespace,
    server: &Namespace,
    address: SocketAddr,
    request: u64,
    response: u64,
) -> Result<Exchange, Error> {
    let transfer = || {
        let listener = make_in(server, || TcpListener::bind(address))?;
        connection(client, None, &listener, request, response)
    };
    transfer().map_err(|source| failed(client, address, source))
}

/// `count` connections like the one of [`tcp_transfer`], one after the other, each from a port of
/// its own.
pub fn tcp_connections(
    client: &Namespace,
    server: &Namespace,
    address: SocketAddr,
    count: usize,
    request: u64,
    response: u64,
) -> Result<Vec<Exchange>, Error> {
    let transfers = || -> io::Result<Vec<Exchange>> {
        let listener = make_in(server, || TcpListener::bind(address))?;
        (0..count)
            .map(|_| connection(client, None, &listener, request, response))
            .collect()
    };
    transfers().map_err(|source| failed(client, address, source))
}

/// A connection to an address where nobody listens. Returns the client's end of the attempt; it
/// is an error when the attempt is not refused.
pub fn tcp_refused(client: &Namespace, address: SocketAddr) -> Result<SocketAddr, Error> {
    let attempt = || {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&any(address.ip()).into())?;
        let local = socket.local_addr()?.as_socket();
        match socket.connect_timeout(&address.into(), PATIENCE) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(local),
            Err(error) => Err(error),
            Ok(()) => Err(unexpected("the connection was accepted")),
        }
    };
    let attempt =
        make_in(client, attempt).and_then(|local| local.ok_or_else(|| unexpected("no address")));
    attempt.map_err(|source| failed(client, address, source))
}

/// As [`tcp_transfer`], with a say in the client's address.
pub(super) fn connection(
    client: &Namespace,
    source: Option<IpAddr>,
    listener: &TcpListener,
    request: u64,
    response: u64,
) -> io::Result<Exchange> {
    let address = listener.local_addr()?;
    let connect = || match source {
        None => TcpStream::connect_timeout(&address, PATIENCE),
        Some(source) => {
            let domain = Domain::for_address(address);
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
            socket.connect_timeout(&address.into(), PATIENCE)?;
            Ok(socket.into())
        }
    };
    let near = make_in(client, connect)?;
    // The kernel has accepted already, so this does not block.
    let (far, peer) = listener.accept()?;
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
    }
    thread::scope(|scope| {
        let serve = scope.spawn(|| {
            receive(&far, request)?;
            send(&far, response)
        });
        send(&near, request)?;
        receive(&near, response)?;
        serve
            .join()
            .map_err(|_| unexpected("the server panicked"))?
    })?;
    Ok(Exchange {
        client: peer,
        server: address,
        sent: request,
        received: response,
    })
}

fn send(mut stream: &TcpStream, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(b'.').take(bytes), &mut stream)?;
    stream.shutdown(Shutdown::Write)
}

fn receive(mut stream: &TcpStream, expected: u64) -> io::Result<()> {
    let bytes = io::copy(&mut stream, &mut io::sink())?;
    if bytes == expected {
        return Ok(());
    }
    Err(unexpected(format!("{bytes} bytes arrived of {expected}")))
}

fn failed(client: &Namespace, address: SocketAddr, source: io::Error) -> Error {
    Error::Traffic {
        exchange: format!("TCP from {} to {address}", client.name()),
        source,
    }
}
