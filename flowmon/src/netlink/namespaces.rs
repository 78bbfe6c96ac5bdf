//! What the kernel tells of other network namespaces: their ids, as this one knows them, and their
//! addresses. Nobody has to enter them for it.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_MULTIPART, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use nix::libc::{EINVAL, ENOBUFS};
use rtnetlink::MulticastGroup;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, Socket, SocketAddr, TokioSocket};

use super::Error;
use super::links::{DATAGRAM_BYTES, split};

/// Asks about network namespaces, as seen from the one of the thread that opened it. Calls wait
/// for the kernel's answer, which takes microseconds.
pub struct Namespaces {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

/// An address and the interface that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Index, in the namespace that was asked about.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix.
    pub prefix: u8,
    /// Valid on its link or host only (`fe80::1`, `127.0.0.1`).
    pub is_local: bool,
}

impl Namespaces {
    /// Opens the network namespace of the calling thread.
    pub fn open() -> Result<Self, Error> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            // Older kernels (before 4.20) ignore what a dump is asked to be about.
            socket.set_netlink_get_strict_chk(true)?;
            Ok(socket)
        };
        Ok(Self {
            socket: open().map_err(Error::Open)?,
            buffer: Vec::with_capacity(DATAGRAM_BYTES),
            sequence: 0,
        })
    }

    /// This namespace's id for the one that `namespace` is open on (`RTM_GETNSID`); none if it has
    /// none, as nothing leads there, or if that is no namespace: runtimes make the file before they
    /// mount one there. The kernel gives an id to another namespace once it is free.
    pub fn id_of(&mut self, namespace: BorrowedFd<'_>) -> Result<Option<i32>, Error> {
        let fd = u32::try_from(namespace.as_raw_fd()).unwrap_or_default();
        let mut message = NsidMessage::default();
        message.attributes.push(NsidAttribute::Fd(fd));
        let mut id = None;
        let asked = self.ask(
            RouteNetlinkMessage::GetNsId(message),
            0,
            "ask for a namespace's id",
            |answer| {
                if let RouteNetlinkMessage::NewNsId(message) = answer {
                    id = message
                        .attributes
                        .iter()
                        .find_map(|attribute| match attribute {
                            NsidAttribute::Id(id) => Some(*id).filter(|&id| id >= 0),
                            _ => None,
                        });
                }
            },
        );
        match asked {
            Err(Error::Refused { source, .. }) if source.raw_os_error() == Some(EINVAL) => Ok(None),
            asked => asked.map(|()| id),
        }
    }

    /// All addresses in the namespace with this id, or in this one (`RTM_GETADDR`).
    pub fn addresses(&mut self, netnsid: Option<i32>) -> Result<Vec<InterfaceAddress>, Error> {
        let mut message = AddressMessage::default();
        if let Some(id) = netnsid {
            message.attributes.push(AddressAttribute::TargetNetNsId(id));
        }
        let mut found = Vec::new();
        self.ask(
            RouteNetlinkMessage::GetAddress(message),
            NLM_F_DUMP,
            "list a namespace's addresses",
            |answer| {
                if let RouteNetlinkMessage::NewAddress(message) = answer {
                    found.extend(interface_address(&message));
                }
            },
        )?;
        Ok(found)
    }

    fn ask(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
        action: &str,
        mut take: impl FnMut(RouteNetlinkMessage),
    ) -> Result<(), Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let refused = |source| Error::Refused {
            action: action.into(),
            source,
        };
        self.socket
            .send_to(&bytes, &SocketAddr::new(0, 0), 0)
            .map_err(refused)?;
        loop {
            self.buffer.clear();
            self.socket
                .recv_from(&mut self.buffer, 0)
                .map_err(Error::Receive)?;
            for bytes in split(&self.buffer) {
                let message = NetlinkMessage::deserialize(bytes)
                    .map_err(|error| refused(io::Error::other(error)))?;
                if message.header.sequence_number != self.sequence {
                    continue; // the rest of an answer that was not waited for
                }
                let in_parts = message.header.flags & NLM_F_MULTIPART != 0;
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => {
                        return error.code.map_or(Ok(()), |_| Err(refused(error.to_io())));
                    }
                    NetlinkPayload::InnerMessage(inner) => take(inner),
                    _ => {}
                }
                if !in_parts {
                    return Ok(());
                }
            }
        }
    }
}

fn interface_address(message: &AddressMessage) -> Option<InterfaceAddress> {
    // On a point-to-point link IFA_ADDRESS is the other end's.
    let own = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    };
    let any = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    };
    let attributes = &message.attributes;
    let address = attributes.iter().find_map(own);
    Some(InterfaceAddress {
        ifindex: message.header.index,
        address: address.or_else(|| attributes.iter().find_map(any))?,
        prefix: message.header.prefix_len,
        is_local: matches!(
            message.header.scope,
            AddressScope::Link | AddressScope::Host
        ),
    })
}

/// Tells that some address changed, in this namespace or in one that has an id here.
pub struct AddressWatch {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl AddressWatch {
    /// Watches from the network namespace of the calling thread, which must run a tokio runtime.
    pub fn open() -> Result<Self, Error> {
        let group = |group: MulticastGroup| 1 << (group as u32 - 1);
        let groups = group(MulticastGroup::Ipv4Ifaddr) | group(MulticastGroup::Ipv6Ifaddr);
        let open = || {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
            // Without CAP_NET_BROADCAST only this namespace's changes are told.
            let _refused = socket.socket_ref().set_listen_all_namespaces(true);
            Ok(socket)
        };
        Ok(Self {
            socket: open().map_err(Error::Open)?,
            buffer: Vec::with_capacity(DATAGRAM_BYTES),
        })
    }

    /// Waits for a change. That some were lost is a change too.
    pub async fn changed(&mut self) -> Result<(), Error> {
        self.buffer.clear();
        let (socket, buffer) = (&self.socket, &mut self.buffer);
        match poll_fn(|cx| socket.poll_recv_from(cx, buffer)).await {
            Err(error) if error.raw_os_error() != Some(ENOBUFS) => Err(Error::Receive(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::{fs::File, os::fd::AsFd as _};

    use super::Namespaces;

    #[test]
    fn a_file_that_is_no_namespace_has_no_id() {
        let file = File::open("/dev/null").unwrap();
        let id = Namespaces::open().unwrap().id_of(file.as_fd());
        assert_eq!(id.unwrap(), None);
    }
}
