//! A link watch tells everything that happens to the interfaces of its namespace.

use std::error::Error;

use flowmon::lab::{self, Lab, Namespace};
use flowmon::model::Interface;
use flowmon::netlink::{self, Configure, LinkEvent, LinkWatch, Veth};
use netns_tests::require_root;

type TestResult = Result<(), Box<dyn Error>>;

/// The next event of the watch that `wanted` makes something of.
async fn wait_for<T>(
    watch: &mut LinkWatch,
    mut wanted: impl FnMut(LinkEvent) -> Option<T>,
) -> Result<T, netlink::Error> {
    loop {
        if let Some(found) = wanted(watch.next().await?) {
            return Ok(found);
        }
    }
}

fn changed(event: LinkEvent) -> Option<Interface> {
    match event {
        LinkEvent::Changed(interface) => Some(interface),
        _ => None,
    }
}

#[test]
fn a_pod_is_seen_coming_and_going() -> TestResult {
    if !require_root("a_pod_is_seen_coming_and_going") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    lab.node().block_on(async || -> Result<(), lab::Error> {
        let (before, mut watch) = LinkWatch::open().await?;
        assert_eq!(before.len(), 2, "lo and the bridge: {before:#?}");
        let pod = lab.add_pod("a", &lab.host(2))?;
        let bridge = lab.bridge_ifindex();
        let port = wait_for(&mut watch, |event| {
            changed(event).filter(|port| port.master == Some(bridge) && port.up)
        });
        let port = port.await?;
        assert_eq!((port.ifindex, &port.name), (pod.ifindex, &pod.interface));

        let (ifindex, name) = (pod.ifindex, pod.interface.clone());
        lab.remove_pod(pod)?;
        let gone = |event| matches!(event, LinkEvent::Gone { .. }).then_some(event);
        assert_eq!(
            wait_for(&mut watch, gone).await?,
            LinkEvent::Gone { ifindex, name }
        );
        Ok(())
    })??;
    Ok(())
}

#[test]
fn a_dropped_pod_goes_by_itself() -> TestResult {
    if !require_root("a_dropped_pod_goes_by_itself") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let pod = lab.add_pod("a", &lab.host(2))?;
    lab.node().block_on(async || -> Result<(), lab::Error> {
        let (_, mut watch) = LinkWatch::open().await?;
        let ifindex = pod.ifindex;
        drop(pod);
        wait_for(&mut watch, |event| match event {
            LinkEvent::Gone { ifindex: gone, .. } if gone == ifindex => Some(()),
            _ => None,
        })
        .await?;
        Ok(())
    })??;
    Ok(())
}

#[test]
fn ports_leave_are_renamed_and_replaced() -> TestResult {
    if !require_root("ports_leave_are_renamed_and_replaced") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let pod = lab.add_pod("a", &lab.host(2))?;
    let ifindex = pod.ifindex;
    lab.node().block_on(async || -> Result<(), lab::Error> {
        let configure = Configure::open()?;
        let (_, mut watch) = LinkWatch::open().await?;
        // The bridge tells that its port has left with RTM_DELLINK; the interface is not gone.
        configure.set_master(ifindex, None).await?;
        let left = wait_for(&mut watch, |event| match event {
            LinkEvent::Gone { .. } => Some("gone"),
            LinkEvent::Changed(port) if port.master.is_none() => Some("still there"),
            _ => None,
        });
        assert_eq!(left.await?, "still there");

        configure.rename(ifindex, "moved").await?;
        let moved = |event| changed(event).filter(|port| port.name == "moved");
        assert_eq!(wait_for(&mut watch, moved).await?.ifindex, ifindex);

        configure.delete(ifindex).await?;
        let veth = Veth {
            name: "new0",
            ifindex: Some(ifindex),
            peer: "new1",
            peer_netns: None,
        };
        assert_eq!(configure.create_veth(&veth).await?, ifindex);
        let name = "moved".into();
        let gone = |event| matches!(event, LinkEvent::Gone { .. }).then_some(event);
        assert_eq!(
            wait_for(&mut watch, gone).await?,
            LinkEvent::Gone { ifindex, name }
        );
        let reused = |event| changed(event).filter(|new| new.ifindex == ifindex);
        assert_eq!(wait_for(&mut watch, reused).await?.name, "new0");
        Ok(())
    })??;
    Ok(())
}

#[test]
fn a_watch_that_fell_behind_starts_over() -> TestResult {
    if !require_root("a_watch_that_fell_behind_starts_over") {
        return Ok(());
    }
    let namespace = Namespace::new("busy")?;
    namespace.block_on(async || -> Result<(), netlink::Error> {
        let configure = Configure::open()?;
        let veth = Veth {
            name: "v0",
            ifindex: None,
            peer: "v1",
            peer_netns: None,
        };
        let ifindex = configure.create_veth(&veth).await?;
        let (_, mut watch) = LinkWatch::open().await?;
        for round in 0..500 {
            configure.rename(ifindex, &format!("name{round}")).await?;
        }
        let resync = |event| match event {
            LinkEvent::Resync(interfaces) => Some(interfaces),
            _ => None,
        };
        let interfaces = wait_for(&mut watch, resync).await?;
        assert!(
            interfaces
                .iter()
                .any(|interface| interface.name == "name499")
        );
        assert_eq!(interfaces.len(), 3);

        // What happens after that is told again.
        configure.rename(ifindex, "last").await?;
        let last = |event| changed(event).filter(|interface| interface.name == "last");
        assert_eq!(wait_for(&mut watch, last).await?.ifindex, ifindex);
        Ok(())
    })??;
    Ok(())
}
