//! Making and changing interfaces, for throw-away networks.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::pin;

use futures_util::TryStreamExt;
use ipnetwork::IpNetwork;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::{
    BridgePortState, BridgeStpState, InfoBridgePort, InfoData, InfoPortData, InfoVeth,
    LinkAttribute, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::route::{RouteFlags, RouteScope};
use rtnetlink::{
    Handle, LinkBridge, LinkGetRequest, LinkMessageBuilder, LinkUnspec, LinkVeth,
    RouteMessageBuilder,
};

use super::{Error, LinkWatch};

/// A veth pair to be made.
#[derive(Debug, Clone, Copy)]
pub struct Veth<'a> {
    /// Name of the end that stays in the namespace of [`Configure`].
    pub name: &'a str,
    /// Index of that end; the kernel chooses one by default.
    pub ifindex: Option<u32>,
    /// Name of the other end.
    pub peer: &'a str,
    /// Network namespace the other end is made in; the same one by default.
    pub peer_netns: Option<BorrowedFd<'a>>,
}

/// Changes the interfaces of one network namespace.
#[derive(Debug)]
pub struct Configure {
    handle: Handle,
}

impl Configure {
    /// Opens the network namespace of the calling thread, which must run a tokio runtime.
    pub fn open() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Open)?;
        tokio::spawn(connection); // it ends when the last handle is dropped
        Ok(Self { handle })
    }

    /// Makes a bridge whose ports forward as soon as they are up, and which says nothing of its
    /// own: no spanning tree, no multicast snooping. Returns its interface index.
    pub async fn create_bridge(&self, name: &str) -> Result<u32, Error> {
        let message = LinkMessageBuilder::<LinkBridge>::new(name)
            .stp_state(BridgeStpState::Disabled)
            .forward_delay(0)
            .mcast_snooping(false)
            .build();
        let request = self.handle.link().add(message).execute();
        perform(request, || format!("create bridge {name}")).await?;
        self.ifindex_of(name).await
    }

    /// Makes a veth pair. Returns the interface index of the near end.
    pub async fn create_veth(&self, veth: &Veth<'_>) -> Result<u32, Error> {
        let Veth {
            name,
            ifindex,
            peer,
            peer_netns,
        } = *veth;
        let mut far = LinkMessageBuilder::<LinkUnspec>::new().name(peer);
        if let Some(netns) = peer_netns {
            far = far.setns_by_fd(netns.as_raw_fd());
        }
        let near = LinkMessageBuilder::<LinkVeth>::new(name, peer)
            .index(ifindex.unwrap_or_default())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far.build())));
        let request = self.handle.link().add(near.build()).execute();
        perform(request, || format!("create veth pair {name} - {peer}")).await?;
        match ifindex {
            Some(ifindex) => Ok(ifindex),
            None => self.ifindex_of(name).await,
        }
    }

    /// Deletes an interface, and with it the other end of a veth pair.
    pub async fn delete(&self, ifindex: u32) -> Result<(), Error> {
        let request = self.handle.link().del(ifindex).execute();
        perform(request, || format!("delete interface {ifindex}")).await
    }

    /// Sets an interface administratively up.
    pub async fn set_up(&self, ifindex: u32) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(ifindex).up();
        self.change(message, || format!("set interface {ifindex} up"))
            .await
    }

    /// Makes an interface a port of `master` (a bridge), or of nothing.
    pub async fn set_master(&self, ifindex: u32, master: Option<u32>) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(ifindex).controller(master.unwrap_or_default());
        self.change(message, || {
            format!("set the master of interface {ifindex} to {master:?}")
        })
        .await
    }

    /// Gives an interface another name. Kernels before 6.2 want it down.
    pub async fn rename(&self, ifindex: u32, name: &str) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(ifindex).name(name);
        self.change(message, || format!("rename interface {ifindex} to {name}"))
            .await
    }

    /// Moves an interface to another network namespace. It arrives there down, a port of nothing.
    pub async fn set_namespace(&self, ifindex: u32, netns: BorrowedFd<'_>) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(ifindex).setns_by_fd(netns.as_raw_fd());
        self.change(message, || {
            format!("move interface {ifindex} to another namespace")
        })
        .await
    }

    /// Sets the largest layer 3 packet an interface takes, in bytes.
    pub async fn set_mtu(&self, ifindex: u32, mtu: u32) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(ifindex).mtu(mtu);
        self.change(message, || {
            format!("set the MTU of interface {ifindex} to {mtu}")
        })
        .await
    }

    /// Sets the Ethernet address of an interface.
    pub async fn set_mac(&self, ifindex: u32, mac: [u8; 6]) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(ifindex).address(mac.to_vec());
        self.change(message, || {
            format!("set the MAC address of interface {ifindex}")
        })
        .await
    }

    /// Gives an interface an address, usable at once: IPv6 skips duplicate address detection.
    pub async fn add_address(&self, ifindex: u32, address: IpNetwork) -> Result<(), Error> {
        let mut request = self
            .handle
            .address()
            .add(ifindex, address.ip(), address.prefix());
        if address.is_ipv6() {
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        let action = || format!("add address {address} to interface {ifindex}");
        perform(request.execute(), action).await
    }

    /// Sends everything without a better route of the gateway's family to `gateway`, which must
    /// be on a network that one of the interfaces has an address in.
    pub async fn add_default_route(&self, gateway: IpAddr) -> Result<(), Error> {
        let message = match gateway {
            IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new()
                .gateway(gateway)
                .build(),
            IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
                .gateway(gateway)
                .build(),
        };
        let request = self.handle.route().add(message).execute();
        perform(request, || format!("add a default route via {gateway}")).await
    }

    /// Sends what goes to `destination` out of an interface: to `gateway`, which need be on no network
    /// of that interface, or to whoever has the address there.
    pub async fn add_route(
        &self,
        destination: IpNetwork,
        ifindex: u32,
        gateway: Option<IpAddr>,
    ) -> Result<(), Error> {
        let message = || -> io::Result<_> {
            let builder = RouteMessageBuilder::<IpAddr>::new()
                .output_interface(ifindex)
                .destination_prefix(destination.network(), destination.prefix())
                .map_err(io::Error::other)?;
            Ok(match gateway {
                Some(gateway) => builder.gateway(gateway).map_err(io::Error::other)?,
                None => builder.scope(RouteScope::Link),
            })
        };
        let action = || format!("add a route to {destination} via {gateway:?}");
        let mut message = match message() {
            Ok(builder) => builder.build(),
            Err(source) => {
                let action = action();
                return Err(Error::Refused { action, source });
            }
        };
        if gateway.is_some() {
            message.header.flags |= RouteFlags::Onlink;
        }
        perform(self.handle.route().add(message).execute(), action).await
    }

    /// The index of the interface with this name.
    pub async fn ifindex_of(&self, name: &str) -> Result<u32, Error> {
        let request = self.handle.link().get().match_name(name);
        let message = look_up(request, || format!("look up interface {name}")).await?;
        Ok(message.header.index)
    }

    /// Waits until an interface carries frames: its operational state is up and, on a bridge
    /// port, the bridge forwards. There is no deadline: the other end may stay down for ever.
    ///
    /// To be called in the namespace this was opened in.
    pub async fn carries_frames(&self, ifindex: u32) -> Result<(), Error> {
        let mut changes = LinkWatch::changes()?;
        loop {
            let request = self.handle.link().get().match_index(ifindex);
            let message = look_up(request, || format!("look up interface {ifindex}")).await?;
            if is_operational(&message) && is_not_held_back(&message) {
                return Ok(());
            }
            changes.next().await?;
        }
    }

    async fn change(
        &self,
        message: LinkMessageBuilder<LinkUnspec>,
        action: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        perform(self.handle.link().change(message.build()).execute(), action).await
    }
}

fn is_operational(message: &LinkMessage) -> bool {
    message
        .attributes
        .contains(&LinkAttribute::OperState(State::Up))
}

fn is_not_held_back(message: &LinkMessage) -> bool {
    let infos = message
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos),
            _ => None,
        });
    infos.flatten().all(|info| match info {
        LinkInfo::PortData(InfoPortData::BridgePort(port)) => {
            port.contains(&InfoBridgePort::State(BridgePortState::Forwarding))
        }
        _ => true,
    })
}

async fn perform(
    request: impl Future<Output = Result<(), rtnetlink::Error>>,
    action: impl FnOnce() -> String,
) -> Result<(), Error> {
    request.await.map_err(|error| refused(action(), error))
}

async fn look_up(
    request: LinkGetRequest,
    action: impl FnOnce() -> String,
) -> Result<LinkMessage, Error> {
    match pin!(request.execute()).try_next().await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(Error::Refused {
            action: action(),
            source: ErrorKind::NotFound.into(),
        }),
        Err(error) => Err(refused(action(), error)),
    }
}

fn refused(action: String, error: rtnetlink::Error) -> Error {
    let source = match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    };
    Error::Refused { action, source }
}
