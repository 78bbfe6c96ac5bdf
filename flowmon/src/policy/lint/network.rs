//! Address ranges that hold the cluster's own addresses.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{Population, Remarks};
use crate::policy::{
    inventory::PodId,
    model::{Peer, PeerMatch, Peers, Policy, Rule},
};

pub(super) fn check(policy: &Policy, population: &Population<'_>, remarks: &mut Remarks) {
    let rules = policy.ingress.iter().chain(&policy.egress).flatten();
    for Rule { peers, .. } in rules {
        let Peers::OneOf(peers) = peers else {
            continue;
        };
        for Peer { what, place } in peers {
            match what {
                PeerMatch::IpBlock { cidr, except } => {
                    if let Some((rule, says)) = ip_block(*cidr, except, population) {
                        remarks.warn(place, rule, says);
                    }
                }
                PeerMatch::Networks(networks) => {
                    let mut networks = networks.iter();
                    let pods = &population.pod_addresses;
                    if let Some(pod) = networks.find_map(|network| pods.inside(*network, &[])) {
                        let says = format!(
                            "these networks hold addresses of pods, like {}, and match them too",
                            whose(pod)
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
    population: &Population<'_>,
) -> Option<(&'static str, String)> {
    if let Some(pod) = population.pod_addresses.inside(cidr, except) {
        let says = format!(
            "{cidr} holds addresses of pods, like {}: some networks match these by it, others \
             don't. For pods use selectors; if only the outside is meant, add the cluster's \
             networks to `except`",
            whose(pod)
        );
        return Some(("covers-own-addresses", says));
    }
    let service = population.service_addresses.inside(cidr, except)?;
    let says = format!(
        "{cidr} holds addresses of services, like {}: mostly these are replaced by a pod's before \
         policies are asked. Select the pods instead",
        whose(service)
    );
    Some(("covers-service-addresses", says))
}

fn whose((address, id): (IpAddr, &PodId)) -> String {
    format!("{address} of {}/{}", id.namespace, id.name)
}
