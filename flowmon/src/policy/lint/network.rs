//! Address ranges that hold the cluster's own addresses.

use ipnetwork::IpNetwork;

use super::Remarks;
use crate::policy::{
    Inventory,
    model::{Peer, PeerMatch, Peers, Policy, Rule},
};

pub(super) fn check(policy: &Policy, inventory: &Inventory, remarks: &mut Remarks) {
    let rules = policy.ingress.iter().chain(&policy.egress).flatten();
    for Rule { peers, .. } in rules {
        let Peers::OneOf(peers) = peers else {
            continue;
        };
        for Peer { what, place } in peers {
            match what {
                PeerMatch::IpBlock { cidr, except } => {
                    let says = ip_block(*cidr, except, inventory);
                    if let Some((rule, says)) = says {
                        remarks.warn(place, rule, says);
                    }
                }
                PeerMatch::Networks(networks) => {
                    if let Some(pod) = pod_in(networks, &[], inventory) {
                        let says = format!(
                            "these networks hold addresses of pods, like {pod}, and match them too"
                        );
                        remarks.note(place, "covers-own-addresses", says);
                    }
                }
                _ => {}
            }
        }
    }
}

fn ip_block(
    cidr: IpNetwork,
    except: &[IpNetwork],
    inventory: &Inventory,
) -> Option<(&'static str, String)> {
    if let Some(pod) = pod_in(&[cidr], except, inventory) {
        let says = format!(
            "{cidr} holds addresses of pods, like {pod}: some networks match these by it, others \
             don't. For pods use selectors; if only the outside is meant, add the cluster's \
             networks to `except`"
        );
        return Some(("covers-own-addresses", says));
    }
    let services = inventory.services.iter();
    let covered = services.flat_map(|(id, service)| {
        let addresses = service
            .addresses
            .iter()
            .filter(|address| holds(&[cidr], except, **address));
        addresses.map(move |address| format!("{address} of {}/{}", id.namespace, id.name))
    });
    let service = covered.into_iter().next()?;
    let says = format!(
        "{cidr} holds addresses of services, like {service}: mostly these are replaced by a pod's \
         before policies are asked. Select the pods instead"
    );
    Some(("covers-service-addresses", says))
}

fn pod_in(networks: &[IpNetwork], except: &[IpNetwork], inventory: &Inventory) -> Option<String> {
    inventory
        .pods
        .iter()
        .filter(|(_, pod)| !pod.host_network)
        .find_map(|(id, pod)| {
            let address = pod
                .addresses
                .iter()
                .find(|address| holds(networks, except, **address))?;
            Some(format!("{address} of {}/{}", id.namespace, id.name))
        })
}

fn holds(networks: &[IpNetwork], except: &[IpNetwork], address: std::net::IpAddr) -> bool {
    let within = |networks: &[IpNetwork]| networks.iter().any(|network| network.contains(address));
    within(networks) && !within(except)
}
