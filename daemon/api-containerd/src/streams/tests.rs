use super::*;
use ::bytes::Bytes;
use gantry_proto_containerd::types::transfer::{Data, WindowUpdate};
use pb::streaming_client::StreamingClient;
use pb::streaming_server::StreamingServer;
use std::time::Instant;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Server};

/// The service without the rooms behind it.
struct Alone(Streams);

#[tonic::async_trait]
impl pb::streaming_server::Streaming for Alone {
    type StreamStream = Answers;

    async fn stream(&self, request: Request<Streaming<Any>>) -> Answer<Self::StreamStream> {
        let ns = namespace(&request)?;
        Ok(Response::new(
            self.0.open(ns, lease(&request), request.into_inner()).await?,
        ))
    }
}

struct House {
    streams: Streams,
    client: StreamingClient<Channel>,
    ns: Namespace,
    _dir: tempfile::TempDir,
}

async fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let streams = Streams::default();
    let service = StreamingServer::new(Alone(streams.clone()));
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(UnixListenerStream::new(listener)),
    );
    let channel = Endpoint::from_shared(format!("unix:{}", path.display()))
        .unwrap()
        .connect()
        .await
        .unwrap();
    House {
        streams,
        client: StreamingClient::new(channel),
        ns: Namespace::new("one").unwrap(),
        _dir: dir,
    }
}

impl House {
    /// Opens a stream as a client does: the init, then its Empty.
    async fn open(&self, first: Any) -> std::result::Result<(mpsc::Sender<Any>, Streaming<Any>), Status> {
        let (sender, receiver) = mpsc::channel(64);
        sender.send(first).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(receiver));
        request
            .metadata_mut()
            .insert("containerd-namespace", "one".parse().unwrap());
        let mut answers = self.client.clone().stream(request).await?.into_inner();
        let empty = answers.message().await?.unwrap();
        assert_eq!(empty.type_url, "google.protobuf.Empty");
        Ok((sender, answers))
    }

    async fn named(&self, id: &str) -> std::result::Result<(mpsc::Sender<Any>, Streaming<Any>), Status> {
        self.open(pack(&pb::StreamInit { id: id.to_owned() })).await
    }
}

#[tokio::test]
async fn bytes_come_whole_and_within_the_window() {
    let house = house().await;
    let (sender, mut answers) = house.named("in").await.unwrap();
    let (mut received, _reading) = bytes::receive(house.streams.take(&house.ns, "in").unwrap());
    let whole: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let sent = whole.clone();
    let client = tokio::spawn(async move {
        let mut window = 0;
        for piece in sent.chunks(30_000) {
            while window < piece.len() {
                let update: WindowUpdate = unpack(&answers.message().await.unwrap().unwrap()).unwrap();
                window += usize::try_from(update.update).unwrap();
            }
            window -= piece.len();
            let data = Data {
                data: piece.to_vec().into(),
            };
            sender.send(pack(&data)).await.unwrap();
        }
        // It has sent all, and waits for the end of the call.
        answers
    });
    let mut got = Vec::new();
    while let Some(piece) = received.recv().await {
        got.extend_from_slice(&piece.unwrap());
    }
    assert!(got == whole, "{} bytes of {}", got.len(), whole.len());
    drop(client.await.unwrap());

    let (sender, mut answers) = house.named("out").await.unwrap();
    let (pieces, source) = mpsc::channel(4);
    let stream = house.streams.take(&house.ns, "out").unwrap();
    let sending = tokio::spawn(bytes::send(stream, source));
    let text = whole.clone();
    tokio::spawn(async move { pieces.send(Ok(Bytes::from(text))).await });
    let (mut got, mut window) = (Vec::new(), 0);
    while got.len() < whole.len() {
        if window == 0 {
            sender.send(pack(&WindowUpdate { update: 50_000 })).await.unwrap();
            window = 50_000;
        }
        let data: Data = unpack(&answers.message().await.unwrap().unwrap()).unwrap();
        assert!(data.data.len() <= 32 << 10 && data.data.len() <= window);
        window -= data.data.len();
        got.extend_from_slice(&data.data);
    }
    assert!(got == whole);
    sending.await.unwrap().unwrap();
    assert!(
        answers.message().await.unwrap().is_none(),
        "the stream ends with its bytes"
    );
}

#[tokio::test]
async fn a_stream_is_known_by_its_id_until_its_client_goes() {
    let house = house().await;
    let refused = house.open(pack(&WindowUpdate { update: 1 })).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(house.named("").await.unwrap_err().code(), Code::InvalidArgument);
    let open = house.named("one").await.unwrap();
    assert_eq!(house.named("one").await.unwrap_err().code(), Code::AlreadyExists);
    let other = Namespace::new("two").unwrap();
    assert_eq!(
        house.streams.take(&other, "one").err().unwrap().kind(),
        ErrorKind::NotFound
    );
    drop(open);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !house.streams.waiting().is_empty() {
        assert!(Instant::now() < deadline, "a stream outlives its client");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        house.streams.take(&house.ns, "one").err().unwrap().kind(),
        ErrorKind::NotFound
    );
}
