//! LeaseService.

use std::time::Duration;

use holdfast::proto::v1::*;
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::support::*;

async fn create(server: &Server) -> Lease {
    let request = CreateLeaseRequest {
        ttl: span(Duration::from_secs(30)),
        owner: "worker".into(),
        ..Default::default()
    };
    let response = server.leases().await.create_lease(request).await.unwrap();
    response.into_inner().lease.unwrap()
}

#[tokio::test]
async fn a_lease_carries_grants_and_ends_them() {
    let server = Server::start().await;
    let lease = create(&server).await;
    let mut locks = server.locks().await;
    for lock in ["a", "b"] {
        let mut request = ask(lock);
        request.hold = Some(acquire_lock_request::Hold::LeaseId(lease.lease_id.clone()));
        let grant = locks.acquire_lock(request).await.unwrap().into_inner();
        assert_eq!(grant.grant.unwrap().lease_id, lease.lease_id);
    }
    let mut leases = server.leases().await;
    let get = GetLeaseRequest {
        lease_id: lease.lease_id.clone(),
    };
    let seen = leases.get_lease(get.clone()).await.unwrap().into_inner();
    let seen = seen.lease.unwrap();
    assert_eq!((seen.grant_count, seen.owner.as_str()), (2, "worker"));
    let listed = leases
        .list_leases(ListLeasesRequest::default())
        .await
        .unwrap();
    assert_eq!(listed.into_inner().leases.len(), 1);

    let renew = RenewLeaseRequest {
        lease_id: lease.lease_id.clone(),
    };
    let renewed = leases.renew_lease(renew).await.unwrap().into_inner();
    assert_eq!(renewed.expires_in.unwrap().seconds, 30);

    let revoke = RevokeLeaseRequest {
        lease_id: lease.lease_id.clone(),
        request_id: String::new(),
    };
    let revoked = leases.revoke_lease(revoke).await.unwrap().into_inner();
    assert_eq!(revoked.released_count, 2);
    let status = leases.get_lease(get).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(reason(&status), "LEASE_NOT_FOUND");
    server.settles("a", 0, 0).await;
}

#[tokio::test]
async fn keep_alive_answers_in_order_and_outlives_bad_messages() {
    let server = Server::start().await;
    let lease = create(&server).await;
    let gone = uuid::Uuid::new_v4().to_string();
    let asked: Vec<String> = (0..2_000)
        .map(|n| match n % 3 {
            0 => lease.lease_id.clone(),
            1 => gone.clone(),
            _ => format!("not a lease {n}"),
        })
        .collect();
    let requests = asked
        .clone()
        .into_iter()
        .map(|lease_id| KeepAliveRequest { lease_id });
    let mut leases = server.leases().await;
    let mut answers = leases
        .keep_alive(tokio_stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    for (n, lease_id) in asked.into_iter().enumerate() {
        let answer = soon(answers.next()).await.unwrap().unwrap();
        assert_eq!(answer.lease_id, lease_id);
        match (n % 3, answer.result.unwrap()) {
            (0, keep_alive_response::Result::ExpiresIn(span)) => assert_eq!(span.seconds, 30),
            (1, keep_alive_response::Result::Error(error)) => {
                assert_eq!(error.reason, "LEASE_NOT_FOUND");
            }
            (2, keep_alive_response::Result::Error(error)) => {
                assert_eq!(error.field, "lease_id");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(soon(answers.next()).await.is_none());
}
