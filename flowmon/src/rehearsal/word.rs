//! What the flows of a probe say. Pure.

use super::{
    Observed, Seen,
    cast::{Asked, Task},
    watching::Spot,
};
use crate::{
    audit::{self, Judged, Judgement, Who},
    lab::traffic::{Kind, Passed},
    model::{Direction, Flow, Protocol},
    policy::{Connection, Outcome, Reason, Ruleset, Verdict, Verdicts, inventory::PodId},
};

/// One end of a probe.
#[derive(Debug, Clone, Copy)]
pub(super) enum End<'a> {
    /// No pod: nobody watches.
    Unwatched,
    /// A pod, and the flow at its interface, if there was one.
    Pod(&'a PodId, Option<&'a Flow>),
}

/// What was seen of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    sent: u64,
    received: u64,
    egress: Side,
    ingress: Side,
}

/// One side's word.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Side {
    /// Its own.
    Own(Verdict),
    /// What the other side says it would be; nothing where no policies bind it.
    Told(Option<Outcome>),
}

/// Both ends saw the same: that many packets of the client, that many of the server.
pub(super) fn exactly(kind: Kind, ends: &[End<'_>; 2]) -> Result<(u64, u64), String> {
    let mut seen: Option<(u64, u64)> = None;
    let [from, to] = ends;
    for (end, is_client) in [(from, true), (to, false)] {
        let End::Pod(id, flow) = end else { continue };
        let Some(flow) = flow else {
            let PodId { namespace, name } = id;
            return Err(format!("no such flow was seen at {namespace}/{name}"));
        };
        let totals = flow.totals();
        let (tx, rx) = (totals.tx.packets, totals.rx.packets);
        let counted = if is_client { (tx, rx) } else { (rx, tx) };
        if let Some(before) = seen
            && before != counted
        {
            return Err(format!(
                "at one end {} and {} packets were seen, at the other one {} and {}",
                before.0, before.1, counted.0, counted.1
            ));
        }
        seen = Some(counted);
    }
    let (sent, received) = seen.unwrap_or_default();
    let (must_send, must_receive) = kind.packets();
    if must_send.is_some_and(|it| it != sent) || must_receive.is_some_and(|it| it != received) {
        return Err(format!(
            "{sent} and {received} packets were seen, which is not what was sent"
        ));
    }
    Ok((sent, received))
}

/// Where a probe is to be seen: at the client, at the server.
pub(super) fn spots(asked: &Asked, passed: &Passed, ifindices: [u32; 2]) -> [Spot; 2] {
    let protocol = Protocol::Ip(asked.kind.protocol(asked.target));
    let [client, server] = ifindices;
    let spot = |ifindex, local, remote| Spot {
        ifindex,
        protocol,
        local,
        remote,
    };
    [
        spot(client, passed.client, passed.server),
        spot(server, passed.server, passed.client),
    ]
}

/// Judges what was seen at both ends, each as it is judged where it is watched for good.
pub(super) fn of(kind: Kind, ends: &[End<'_>; 2], ruleset: &Ruleset) -> Result<Word, String> {
    let (sent, received) = exactly(kind, ends)?;
    let [from, to] = ends;
    let at_client = judged(from, Direction::Egress, ruleset)?;
    let at_server = judged(to, Direction::Ingress, ruleset)?;
    let side = |own: Option<&Judged>, other: Option<&Judged>| match own {
        Some(own) => Side::Own(Verdict {
            outcome: own.outcome,
            reason: own.reason,
            policy: own.policy.clone(),
            rule: own.rule.clone(),
        }),
        None => Side::Told(other.and_then(|other| other.peer_outcome)),
    };
    if let (Some(client), Some(server)) = (&at_client, &at_server)
        && (client.peer_outcome, server.peer_outcome)
            != (Some(server.outcome), Some(client.outcome))
    {
        return Err("the flows at both ends contradict one another".to_owned());
    }
    Ok(Word {
        sent,
        received,
        egress: side(at_client.as_ref(), at_server.as_ref()),
        ingress: side(at_server.as_ref(), at_client.as_ref()),
    })
}

fn judged(
    end: &End<'_>,
    direction: Direction,
    ruleset: &Ruleset,
) -> Result<Option<Judged>, String> {
    let End::Pod(id, Some(flow)) = end else {
        return Ok(None);
    };
    let flow = audit::Flow::of(flow, false, Some((*id).clone()), |_| None);
    match audit::judge(&flow, &Who::default(), |it| ruleset.judge(it)) {
        Judgement::Is(judged) if judged.direction == direction => Ok(Some(judged)),
        Judgement::Is(judged) => Err(format!(
            "it was seen as {} where it is {}",
            judged.direction.label(),
            direction.label()
        )),
        Judgement::Not(why) => Err(format!("it was not judged: {}", why.label())),
    }
}

/// What became of a connection, by the words on all probes.
pub(super) fn observed(
    task: &Task,
    connection: &Connection,
    words: &[Result<Word, String>],
    ruleset: &Ruleset,
) -> Observed {
    let numbers = match task {
        Task::Nothing(why) => return Observed::Unseen(why.clone()),
        Task::Direct(number) => std::slice::from_ref(number),
        Task::Answering(numbers) => numbers,
    };
    let of_task: Result<Vec<&Word>, &String> = numbers
        .iter()
        .filter_map(|number| words.get(*number))
        .map(Result::as_ref)
        .collect();
    let of_task = match of_task {
        Ok(of_task) => of_task,
        Err(why) => return Observed::Missed(why.clone()),
    };
    let without = ruleset.judge(connection);
    let with = of_task.iter().map(|word| word.verdicts());
    let with = with.reduce(Verdicts::either);
    let with = with.as_ref().unwrap_or(&without);
    let agrees = match task {
        Task::Answering(_) if goes_by_service(&without) => {
            return Observed::Unseen(
                "a rule goes by addresses: whether it sees the service's or the pod's, no probe of \
                 a pod shows"
                    .to_owned(),
            );
        }
        // Who answers has a name of its own in each probe.
        Task::Answering(_) => outcomes(with) == outcomes(&without),
        Task::Direct(_) | Task::Nothing(_) => of_task.iter().all(|word| word.agrees(&without)),
    };
    Observed::Seen(Seen {
        probes: of_task.len(),
        sent: of_task.iter().map(|word| word.sent).sum(),
        received: of_task.iter().map(|word| word.received).sum(),
        outcome: with.outcome(),
        disagreement: (!agrees).then(|| {
            format!(
                "judged by the flows that were seen it is {}, by the policies alone {}: this is a \
                 mistake of flowmon's, please report it",
                told(with),
                told(&without)
            )
        }),
    })
}

fn goes_by_service(verdicts: &Verdicts) -> bool {
    let mut sides = [&verdicts.egress, &verdicts.ingress].into_iter().flatten();
    sides.any(|verdict| verdict.reason == Reason::ServiceAddress)
}

fn outcomes(verdicts: &Verdicts) -> [Option<Outcome>; 2] {
    [&verdicts.egress, &verdicts.ingress].map(|side| side.as_ref().map(|it| it.outcome))
}

fn told(verdicts: &Verdicts) -> String {
    let side = |verdict: &Option<Verdict>| {
        verdict.as_ref().map_or("free".to_owned(), |verdict| {
            format!("{} ({})", verdict.outcome.label(), verdict.reason.label())
        })
    };
    let [egress, ingress] = [&verdicts.egress, &verdicts.ingress].map(side);
    format!(
        "{}: egress {egress}, ingress {ingress}",
        verdicts.outcome().label()
    )
}

impl Word {
    fn verdicts(&self) -> Verdicts {
        let verdict = |side: &Side| match side {
            Side::Own(verdict) => Some(verdict.clone()),
            Side::Told(outcome) => outcome.map(|outcome| Verdict {
                outcome,
                reason: Reason::UnknownEndpoint,
                policy: None,
                rule: None,
            }),
        };
        Verdicts {
            egress: verdict(&self.egress),
            ingress: verdict(&self.ingress),
        }
    }

    /// Each side says what it says without traffic, for the same reason by the same rule; of a side
    /// that nobody watched the outcome is known.
    fn agrees(&self, without: &Verdicts) -> bool {
        let agrees = |(with, without): (&Side, &Option<Verdict>)| match with {
            Side::Own(verdict) => without.as_ref() == Some(verdict),
            Side::Told(outcome) => *outcome == without.as_ref().map(|it| it.outcome),
        };
        let with = [&self.egress, &self.ingress];
        with.into_iter()
            .zip([&without.egress, &without.ingress])
            .all(agrees)
    }
}
