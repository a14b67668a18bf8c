module github.com/securly/sync/deploy

go 1.26.0

ignore ./e2e/browser/node_modules

replace github.com/securly/sync/proto => ../proto

replace github.com/securly/sync/services => ../services

replace github.com/securly/sync/gateway => ../gateway

require (
	github.com/nats-io/nats-server/v2 v2.15.2
	github.com/securly/sync/gateway v0.0.0
	github.com/securly/sync/proto v0.0.0
	github.com/securly/sync/services v0.0.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/text v0.43.0
	google.golang.org/grpc v1.85.0
)

require (
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/prometheus/client_golang v1.25.0 // indirect
	github.com/spf13/cobra v1.10.2 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	gocloud.dev v0.47.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
