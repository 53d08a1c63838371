// Package kmeshreceiver tells every TCP connection of a node as OTLP metrics and logs:
// who talked to whom, how many bytes, and how it ended.
package kmeshreceiver

// mdatagen names the tests' package after the folder, which is not this one's name.
//go:generate mdatagen metadata.yaml
//go:generate sed -i "s/^package receiver$/package kmeshreceiver/" generated_component_test.go generated_package_test.go
