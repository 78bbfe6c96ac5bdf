//! The interfaces there are, and every change of them.
//!
//! The socket is read here rather than through rtnetlink's connection, for two reasons. Its
//! channel has no bound, while the kernel's buffer has one and says when it overflowed. And after
//! an overflow the kernel keeps dropping notifications, without a further word, until the buffer
//! was empty once (`NETLINK_S_CONGESTED` in `net/netlink/af_netlink.c`): a dump is only worth
//! asking for after that.

use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::io;
use std::mem;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_MULTIPART, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use nix::libc::ENOBUFS;
use rtnetlink::MulticastGroup;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, SocketAddr, TokioSocket};

use super::{Error, message};
use crate::model::Interface;

/// The kernel's own limit for one netlink datagram is 32 KiB (`netlink_recvmsg`).
pub(super) const DATAGRAM_BYTES: usize = 64 * 1024;

/// `NLM_F_DUMP_INTR` of `<linux/netlink.h>`: the interfaces changed while the dump was made.
const NLM_F_DUMP_INTR: u16 = 0x10;

/// A dump is repeated this often while changes interrupt it. What the last one missed, if
/// anything, is among the notifications that follow it.
const DUMP_ATTEMPTS: u32 = 4;

/// The interfaces of the calling thread's network namespace (one `RTM_GETLINK` dump).
pub async fn list() -> Result<Vec<Interface>, Error> {
    let (interfaces, _) = LinkWatch::join(0)?.with_dump().await?;
    Ok(interfaces)
}

/// Something happened to an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The interface is new, or something about it changed (`RTM_NEWLINK`).
    Changed(Interface),
    /// The interface was deleted or moved to another namespace (`RTM_DELLINK`).
    Gone {
        /// Its index, which the kernel may give to another interface from now on.
        ifindex: u32,
        /// Its last name.
        name: String,
    },
    /// Notifications were lost. This is all there is now; what is not here is gone.
    Resync(Vec<Interface>),
}

/// Interface changes in one network namespace, in the order they happened.
pub struct LinkWatch {
    socket: TokioSocket,
    buffer: Vec<u8>,
    /// Sequence number of the last dump.
    sequence: u32,
    dump: Option<Dump>,
    /// Decoded and not yet delivered. While a dump runs these wait for it: telling an old change
    /// after a newer dump does no harm, for the newer change is told after it.
    events: VecDeque<LinkEvent>,
    /// Interfaces whose messages can't be read: their names are no UTF-8.
    unreadable: BTreeSet<u32>,
}

/// A dump that was asked for and is not complete.
struct Dump {
    found: Vec<Interface>,
    interrupted: bool,
    attempts_left: u32,
}

impl LinkWatch {
    /// The interfaces of the calling thread's network namespace, and a watch of all their changes
    /// from then on. Nothing is missed in between; a change may be told although the list already
    /// shows it.
    pub async fn open() -> Result<(Vec<Interface>, Self), Error> {
        Self::changes()?.with_dump().await
    }

    /// The next change. Dropping the future loses nothing, so it may be used in `select!`.
    pub async fn next(&mut self) -> Result<LinkEvent, Error> {
        loop {
            if self.dump.is_none()
                && let Some(event) = self.events.pop_front()
            {
                return Ok(event);
            }
            self.receive().await?;
        }
    }

    /// Changes from now on, without a list of what there is.
    pub(super) fn changes() -> Result<Self, Error> {
        Self::join(1 << (MulticastGroup::Link as u32 - 1))
    }

    fn join(groups: u32) -> Result<Self, Error> {
        let open = || {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
            Ok(socket)
        };
        Ok(Self {
            socket: open().map_err(Error::Open)?,
            buffer: Vec::with_capacity(DATAGRAM_BYTES),
            sequence: 0,
            dump: None,
            events: VecDeque::new(),
            unreadable: BTreeSet::new(),
        })
    }

    async fn with_dump(mut self) -> Result<(Vec<Interface>, Self), Error> {
        self.request_dump(DUMP_ATTEMPTS)?;
        loop {
            if let LinkEvent::Resync(interfaces) = self.next().await? {
                return Ok((interfaces, self));
            }
        }
    }

    fn request_dump(&mut self, attempts: u32) -> Result<(), Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let kernel = SocketAddr::new(0, 0);
        self.socket
            .socket_ref()
            .send_to(&bytes, &kernel, 0)
            .map_err(dump_refused)?;
        self.dump = Some(Dump {
            found: Vec::new(),
            interrupted: false,
            attempts_left: attempts.saturating_sub(1),
        });
        Ok(())
    }

    /// Waits for one datagram and takes it in, with no await in between.
    async fn receive(&mut self) -> Result<(), Error> {
        self.buffer.clear();
        let (socket, buffer) = (&self.socket, &mut self.buffer);
        match poll_fn(|cx| socket.poll_recv_from(cx, buffer)).await {
            Ok(sender) if sender.port_number() == 0 => self.take_datagram(),
            Ok(_) => Ok(()), // only the kernel is believed
            Err(error) if error.raw_os_error() == Some(ENOBUFS) => self.resync(),
            Err(error) => Err(Error::Receive(error)),
        }
    }

    /// Starts over after a loss, once the socket is empty (see the top of this file).
    fn resync(&mut self) -> Result<(), Error> {
        self.events.clear();
        loop {
            self.buffer.clear();
            match self.socket.socket_ref().recv_from(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(Error::Receive(error)),
            }
        }
        self.request_dump(DUMP_ATTEMPTS)
    }

    /// Interfaces that the kernel told of in words that can't be read: who knows whether they should
    /// be watched.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.len() as u64
    }

    fn take_datagram(&mut self) -> Result<(), Error> {
        let buffer = mem::take(&mut self.buffer);
        let result =
            split(&buffer).try_for_each(|bytes| match NetlinkMessage::deserialize(bytes) {
                Ok(message) => self.take(message),
                Err(error) => {
                    let ifindex = message::ifindex(bytes);
                    if self.unreadable.insert(ifindex) {
                        tracing::warn!(ifindex, %error, "what the kernel says of an interface can't be read: it is not watched");
                    }
                    Ok(())
                }
            });
        self.buffer = buffer;
        result
    }

    fn take(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) -> Result<(), Error> {
        let NetlinkHeader {
            flags,
            sequence_number,
            ..
        } = message.header;
        let ours = sequence_number == self.sequence;
        // Notifications carry the sequence number of whoever caused them: the answer to our dump
        // is told from them by its being in parts.
        if ours && flags & NLM_F_MULTIPART != 0 {
            return self.take_answer(message);
        }
        match message.payload {
            NetlinkPayload::InnerMessage(inner) => self.events.extend(event(&inner)),
            NetlinkPayload::Error(error) if ours => return Err(dump_refused(error.to_io())),
            _ => {}
        }
        Ok(())
    }

    fn take_answer(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) -> Result<(), Error> {
        let Some(mut dump) = self.dump.take() else {
            return Ok(());
        };
        dump.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
        match message.payload {
            NetlinkPayload::Done(_) if dump.interrupted && dump.attempts_left > 0 => {
                return self.request_dump(dump.attempts_left);
            }
            NetlinkPayload::Done(_) => {
                self.events.push_front(LinkEvent::Resync(dump.found));
                return Ok(());
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                dump.found.push(message::interface(&link));
            }
            _ => {}
        }
        self.dump = Some(dump);
        Ok(())
    }
}

/// The messages of one datagram; the rest of it is skipped when a length makes no sense.
pub(super) fn split(mut datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = NetlinkBuffer::new_checked(datagram).ok()?.length() as usize;
        let message = datagram.get(..length)?;
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        Some(message)
    })
}

fn event(message: &RouteNetlinkMessage) -> Option<LinkEvent> {
    match message {
        RouteNetlinkMessage::NewLink(link) if message::is_about_interface(link) => {
            Some(LinkEvent::Changed(message::interface(link)))
        }
        RouteNetlinkMessage::DelLink(link) if message::is_about_interface(link) => {
            Some(LinkEvent::Gone {
                ifindex: link.header.index,
                name: message::name(link),
            })
        }
        _ => None,
    }
}

fn dump_refused(source: io::Error) -> Error {
    Error::Refused {
        action: "list the network interfaces".into(),
        source,
    }
}
