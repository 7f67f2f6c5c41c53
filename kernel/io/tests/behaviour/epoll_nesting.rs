// SPDX-License-Identifier: MIT OR Apache-2.0
//! epolls in epolls.

use exo_test_support::programs::*;

use crate::{epoll::*, support};

#[test]
fn what_is_told_inside_is_told_outside() {
    machine(|| {
        let (outer, middle, inner) = (create(), create(), create());
        let fd = support::eventfd(0, 0).unwrap();
        add(inner, fd, IN).unwrap();
        add(middle, inner, IN).unwrap();
        add(outer, middle, IN).unwrap();
        assert_eq!(told(outer), []);
        support::add(fd, 1).unwrap();
        assert_eq!(poll(outer, abi::POLLIN), abi::POLLIN);
        assert_eq!(told(outer), [(IN, middle as u64)]);
        assert_eq!(told(inner), [(IN, fd as u64)]);
        support::take(fd).unwrap();
        assert_eq!((told(outer), poll(middle, abi::POLLIN)), (vec![], 0));
    });
}

#[test]
fn who_waits_outside_is_woken_by_what_is_inside() {
    machine(|| {
        let (outer, inner) = (create(), create());
        let fd = support::eventfd(0, 0).unwrap();
        add(inner, fd, IN).unwrap();
        add(outer, inner, IN).unwrap();
        fork(move || {
            sleep(5 * MS);
            support::add(fd, 1).unwrap();
        });
        assert_eq!(wait_for(outer, 1, 1000), Ok(vec![(IN, inner as u64)]));
    });
}

#[test]
fn circles_are_refused() {
    machine(|| {
        let (first, second, third) = (create(), create(), create());
        add(first, second, IN).unwrap();
        add(second, third, IN).unwrap();
        assert_eq!(add(third, first, IN), Err(Errno::ELOOP));
        assert_eq!(add(second, first, IN), Err(Errno::ELOOP));
    });
}

#[test]
fn depth_has_an_end() {
    machine(|| {
        let fd = support::eventfd(0, 0).unwrap();
        let mut chain = vec![create()];
        add(chain[0], fd, IN).unwrap();
        let refused = loop {
            let next = create();
            match add(next, chain[chain.len() - 1], IN) {
                Ok(_) => chain.push(next),
                Err(error) => break error,
            }
            assert!(chain.len() < 20, "without end");
        };
        assert_eq!(refused, Errno::ELOOP);
        assert!((4..=6).contains(&chain.len()), "{} deep", chain.len());
        support::add(fd, 1).unwrap();
        assert_eq!(told(chain[chain.len() - 1]).len(), 1, "the deepest is heard at the top");
    });
}

#[test]
fn several_may_watch_one_and_all_are_told() {
    machine(|| {
        let inner = create();
        let fd = support::eventfd(0, 0).unwrap();
        add(inner, fd, IN).unwrap();
        let outers = [create(), create(), create()];
        for outer in outers {
            add(outer, inner, IN).unwrap();
        }
        assert_eq!(add(inner, outers[2], IN), Err(Errno::ELOOP));
        support::add(fd, 1).unwrap();
        for outer in outers {
            assert_eq!(told(outer), [(IN, inner as u64)]);
        }
        support::take(fd).unwrap();
        assert_eq!(told(outers[0]), []);
        close(outers[1]).unwrap();
        support::add(fd, 1).unwrap();
        assert_eq!(told(outers[2]), [(IN, inner as u64)]);
    });
}

#[test]
fn a_diamond_is_no_circle() {
    machine(|| {
        let (top, left, right, bottom) = (create(), create(), create(), create());
        for (outer, inner) in [(top, left), (top, right), (left, bottom), (right, bottom)] {
            add(outer, inner, IN).unwrap();
        }
        let fd = support::eventfd(0, 0).unwrap();
        add(bottom, fd, IN).unwrap();
        support::add(fd, 1).unwrap();
        assert_eq!(told(top).len(), 2);
        assert_eq!(add(bottom, top, IN), Err(Errno::ELOOP));
        assert_eq!(add(left, top, IN), Err(Errno::ELOOP), "with others below");
    });
}

#[test]
fn the_ways_of_a_change_are_bounded() {
    machine(|| {
        let (inner, middle) = (create(), create());
        add(middle, inner, IN).unwrap();
        let mut outers = Vec::new();
        let refused = loop {
            let outer = create();
            match add(outer, middle, IN) {
                Ok(_) => outers.push(outer),
                Err(error) => break error,
            }
            assert!(outers.len() < 200, "without end");
        };
        assert_eq!(refused, Errno::EINVAL);
        assert_eq!(add(create(), inner, IN), Err(Errno::EINVAL), "those behind it count");
        close(outers[0]).unwrap();
        add(create(), middle, IN).unwrap();
    });
}
