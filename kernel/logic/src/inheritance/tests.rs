// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who lends whom a priority, by hand and beside a model that computes it anew each time.

use super::*;

type Names = Graph<char, usize>;

/// Follows a change to its end.
fn settle(graph: &mut Names, from: Id) {
    let mut at = Some(from);
    while let Some(update) = at.and_then(|id| graph.update(id)) {
        at = update.next;
    }
}

fn wait(graph: &mut Names, lock: char, waiter: (Id, Priority), owner: (Id, Priority)) -> bool {
    let result = graph.wait(lock, (waiter.0, waiter.0, waiter.1), || (owner.0, owner.0, owner.1));
    if let Ok(owner) = result {
        settle(graph, owner);
    }
    result.is_ok()
}

fn lent(graph: &Names, id: Id) -> Priority {
    graph.node(id).map_or(NOTHING, |node| node.lent)
}

#[test]
fn the_best_waiter_lends_and_is_served_first() {
    let mut graph = Names::new();
    assert!(wait(&mut graph, 'a', (2, 120), (1, 139)));
    assert!(wait(&mut graph, 'a', (3, 50), (1, 139)));
    assert!(wait(&mut graph, 'a', (4, 50), (1, 139)));
    assert_eq!(lent(&graph, 1), 50);
    assert_eq!(graph.pass_on('a'), Some((3, 3)));
    settle(&mut graph, 1);
    settle(&mut graph, 3);
    assert_eq!((lent(&graph, 1), lent(&graph, 3)), (NOTHING, 50));
    assert_eq!(graph.pass_on('a').map(|(id, _)| id), Some(4));
    settle(&mut graph, 3);
    settle(&mut graph, 4);
    assert_eq!(graph.pass_on('a').map(|(id, _)| id), Some(2));
    settle(&mut graph, 4);
    settle(&mut graph, 2);
    assert!(graph.is_empty() && graph.tasks.is_empty() && graph.by_id.is_empty());
}

#[test]
fn a_priority_goes_through_a_chain_and_back() {
    let mut graph = Names::new();
    assert!(wait(&mut graph, 'a', (2, 120), (1, 130)));
    assert!(wait(&mut graph, 'b', (3, 120), (2, 120)));
    assert!(wait(&mut graph, 'c', (4, 7), (3, 120)));
    assert_eq!([1, 2, 3].map(|id| lent(&graph, id)), [7, 7, 7]);
    let owner = graph.leave(4).unwrap();
    settle(&mut graph, owner);
    assert_eq!([1, 2, 3].map(|id| lent(&graph, id)), [120, 120, NOTHING]);
    graph.set_own(3, 110);
    settle(&mut graph, 3);
    assert_eq!([1, 2].map(|id| lent(&graph, id)), [110, 110]);
}

#[test]
fn a_circle_is_refused_and_leaves_no_trace() {
    let mut graph = Names::new();
    assert!(wait(&mut graph, 'a', (2, 1), (1, 1)));
    assert!(wait(&mut graph, 'b', (3, 1), (2, 1)));
    assert!(!wait(&mut graph, 'c', (1, 1), (3, 1)), "1 waits for 3, 3 for 2, 2 for 1");
    assert!(!wait(&mut graph, 'd', (9, 1), (9, 1)), "one that waits for itself");
    assert_eq!((graph.lock('c'), graph.waits_for(1), graph.by_id.len()), (None, None, 3));
}

#[test]
fn a_chain_that_is_too_long_is_refused() {
    let mut graph = Graph::<usize, usize>::new();
    let mut made = 0;
    while graph.wait(made, (made + 1, 0, 1), || (made, 0, 1)).is_ok() {
        made += 1;
    }
    assert_eq!(made, LONGEST_CHAIN);
}

#[test]
fn an_inherited_lock_is_known_until_it_is_accepted() {
    let mut graph = Names::new();
    assert!(wait(&mut graph, 'a', (2, 120), (1, 139)));
    assert_eq!(graph.owned_by(1), Some('a'));
    assert_eq!(graph.inherit('a'), Some((2, 2)));
    settle(&mut graph, 1);
    assert_eq!(graph.lock('a'), Some(Lock { owner: 2, inherited: true }));
    assert!(wait(&mut graph, 'a', (3, 5), (1, 139)), "its owner is the heir");
    assert_eq!(lent(&graph, 2), 5);
    graph.accept('a');
    assert_eq!(graph.lock('a'), Some(Lock { owner: 2, inherited: false }));
    let owner = graph.leave(3).unwrap();
    settle(&mut graph, owner);
    assert!(graph.lock('a').is_none() && graph.by_id.is_empty());
}

/// Everything that the graph says, from the plainest of models.
#[derive(Default)]
struct Model {
    owner: BTreeMap<char, Id>,
    waits: BTreeMap<Id, char>,
    own: BTreeMap<Id, Priority>,
}

impl Model {
    fn effective(&self, id: Id, depth: usize) -> Priority {
        let own = self.own[&id];
        if depth == 0 { own } else { own.min(self.lent(id, depth - 1)) }
    }

    fn lent(&self, id: Id, depth: usize) -> Priority {
        let waits_for_it = |lock: &char| self.owner.get(lock) == Some(&id);
        let waiters = self.waits.iter().filter(|(_, lock)| waits_for_it(lock));
        waiters.map(|(waiter, _)| self.effective(*waiter, depth)).min().unwrap_or(NOTHING)
    }
}

#[test]
fn any_sequence_is_as_in_a_plain_model() {
    const TASKS: usize = 8;
    let mut seed = 7_u64;
    let mut random = |limit: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % limit
    };
    let (mut graph, mut model) = (Names::new(), Model::default());
    for id in 0..TASKS {
        model.own.insert(id, 100);
    }
    for _ in 0..100_000 {
        let id = random(TASKS);
        let lock = char::from(b'a' + random(5) as u8);
        match random(4) {
            0 | 1 if !model.waits.contains_key(&id) => match model.owner.get(&lock).copied() {
                None => {
                    model.owner.insert(lock, id);
                }
                Some(owner) => {
                    if wait(&mut graph, lock, (id, model.own[&id]), (owner, model.own[&owner])) {
                        model.waits.insert(id, lock);
                    }
                }
            },
            2 if model.owner.get(&lock) == Some(&id) => {
                let next = graph.pass_on(lock);
                settle(&mut graph, id);
                match next {
                    Some((next, _)) => {
                        settle(&mut graph, next);
                        assert_eq!(model.waits.remove(&next), Some(lock));
                        model.owner.insert(lock, next);
                    }
                    None => {
                        assert!(!model.waits.values().any(|waits| *waits == lock));
                        model.owner.remove(&lock);
                    }
                }
            }
            2 => {
                assert_eq!(graph.waits_for(id), model.waits.remove(&id));
                if let Some(owner) = graph.leave(id) {
                    settle(&mut graph, owner);
                    settle(&mut graph, id);
                }
            }
            _ => {
                let own = random(140) as Priority;
                model.own.insert(id, own);
                graph.set_own(id, own);
                settle(&mut graph, id);
            }
        }
        for id in 0..TASKS {
            assert_eq!(lent(&graph, id), model.lent(id, TASKS));
        }
    }
}
