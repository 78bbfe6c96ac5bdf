//! Whole frames, as they are on the wire.

use std::{ffi::c_int, io, os::fd::AsRawFd as _, time::Duration};

use flowmon::{lab::Namespace, netlink::Configure};
use nix::libc;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

/// How long reading waits for a frame: so often a thread looks whether it shall end.
const TICK: Duration = Duration::from_millis(20);

/// Room for what comes while a thread does not run.
const BUFFER: usize = 4 << 20;

/// Sends frames at an interface.
///
/// # Panics
///
/// When one can't be sent.
pub fn send_frames(namespace: &Namespace, interface: &str, frames: &[Vec<u8>]) {
    let socket = open(namespace, interface);
    for frame in frames {
        let sent = socket.send(frame);
        assert_eq!(sent.ok(), Some(frame.len()), "sending {frame:02x?}");
    }
}

/// A socket for whole frames at an interface.
pub(crate) fn open(namespace: &Namespace, interface: &str) -> Socket {
    let index = namespace.block_on(async || Configure::open()?.ifindex_of(interface).await);
    let index = match index {
        Ok(Ok(index)) => index,
        failed => panic!("{interface}: {failed:?}"),
    };
    let open = || -> io::Result<Socket> {
        // Nothing is received before it is bound.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        socket.set_recv_buffer_size(BUFFER)?;
        socket.set_read_timeout(Some(TICK))?;
        ignore_outgoing(&socket)?;
        socket.bind(&every_frame_at(index))?;
        Ok(socket)
    };
    let socket = namespace.run(open);
    let socket = socket.unwrap_or_else(|error| panic!("{error}"));
    socket.unwrap_or_else(|error| panic!("a packet socket at {interface}: {error}"))
}

/// Else what is written to the interface could be read there (`packet(7)`).
fn ignore_outgoing(socket: &Socket) -> io::Result<()> {
    let yes: c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&yes)).map_err(io::Error::other)?;
    // SAFETY: the option's value is an int, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            (&raw const yes).cast(),
            length,
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "constants and indexes as the kernel's structure has them"
)]
fn every_frame_at(ifindex: u32) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is one of the addresses there is room for.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = ifindex as i32;
    // SAFETY: the family and the length are those of what was written above.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) }
}
