module github.com/securly/sync/deploy/bench

go 1.26.0

replace github.com/securly/sync/proto => ../../proto

replace github.com/securly/sync/services => ../../services

replace github.com/securly/sync/gateway => ../../gateway

replace github.com/securly/sync/deploy => ../
