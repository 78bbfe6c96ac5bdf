//! What the far end of a veth pair has counted.

use std::{
    io::{self, ErrorKind},
    pin::pin,
};

use futures_util::TryStreamExt as _;
use netlink_packet_route::link::LinkAttribute;
use rtnetlink::Handle;

use super::{Error, message};
use crate::model::{InterfaceCounters, Peer};

/// Asks from the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct PeerCounters {
    handle: Handle,
}

impl PeerCounters {
    /// The calling thread must run a tokio runtime.
    pub fn open() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Open)?;
        tokio::spawn(connection); // it ends when the last handle is dropped
        Ok(Self { handle })
    }

    /// Since the interface was made. It takes `CAP_NET_ADMIN` over the namespace it is in.
    pub async fn of(&self, peer: Peer) -> Result<InterfaceCounters, Error> {
        let mut request = self.handle.link().get().match_index(peer.ifindex);
        let elsewhere = peer.netnsid.map(LinkAttribute::IfNetnsId);
        request.message_mut().attributes.extend(elsewhere);
        let answer = pin!(request.execute()).try_next().await;
        let refused = |source| Error::Refused {
            action: format!("read the counters of the far end {peer:?}"),
            source,
        };
        match answer {
            Ok(Some(link)) => Ok(message::interface(&link).counters),
            Ok(None) => Err(refused(ErrorKind::NotFound.into())),
            Err(rtnetlink::Error::NetlinkError(error)) => Err(refused(error.to_io())),
            Err(error) => Err(refused(io::Error::other(error))),
        }
    }
}
