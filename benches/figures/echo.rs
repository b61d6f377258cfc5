//! A bare tonic echo, unary and both ways: what the transport alone can do.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, BoxStream, http};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::Failed;

/// What goes there and back.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    /// The number of the call.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// About as long as a lock's name with its grant token.
    #[prost(string, tag = "2")]
    pub text: String,
}

/// What is sent.
pub fn message(number: u64) -> Message {
    Message {
        number,
        text: "a name of a lock and its grant token".to_owned(),
    }
}

#[derive(Clone)]
struct Service;

struct Unary;
impl tonic::server::UnaryService<Message> for Unary {
    type Response = Message;
    type Future = std::future::Ready<Result<Response<Message>, Status>>;
    fn call(&mut self, request: Request<Message>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

struct Both;
impl tonic::server::StreamingService<Message> for Both {
    type Response = Message;
    type ResponseStream = Streaming<Message>;
    type Future = std::future::Ready<Result<Response<Streaming<Message>>, Status>>;
    fn call(&mut self, request: Request<Streaming<Message>>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

impl tonic::server::NamedService for Service {
    const NAME: &'static str = "echo.Echo";
}

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let codec = ProstCodec::<Message, Message>::default();
            let mut grpc = tonic::server::Grpc::new(codec);
            Ok(if request.uri().path().ends_with("/Unary") {
                grpc.unary(Unary, request).await
            } else {
                grpc.streaming(Both, request).await
            })
        })
    }
}

/// Serves on a free port, which it prints, until it is killed.
pub async fn serve() -> Result<(), Failed> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    tonic::transport::Server::builder()
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 22)
        .add_service(Service)
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(())
}

/// One echo, there and back.
pub async fn unary(channel: &Channel, number: u64) -> Result<(), Failed> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await?;
    let codec = ProstCodec::<Message, Message>::default();
    let path = http::uri::PathAndQuery::from_static("/echo.Echo/Unary");
    grpc.unary(Request::new(message(number)), path, codec)
        .await?;
    Ok(())
}

/// A both-ways stream.
pub async fn both(
    channel: &Channel,
    requests: BoxStream<Message>,
) -> Result<Streaming<Message>, Failed> {
    use tokio_stream::StreamExt;
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await?;
    let codec = ProstCodec::<Message, Message>::default();
    let path = http::uri::PathAndQuery::from_static("/echo.Echo/Both");
    let requests = requests.filter_map(Result::ok);
    let response = grpc.streaming(Request::new(requests), path, codec).await?;
    Ok(response.into_inner())
}
