package netslirp

// What bryo-net finds open, by number: launch and bryo-net agree here.
//
//	link      socket; each message carries a descriptor of the device
//	config    file: Config as JSON
//	container pidfd of the container's PID 1, whose end is bryo-net's
//	report    pipe: "ready\n", or an error; only where bryo waits for it
//	inside    pipe to the side in the container: its lifeline
//	log, pcap files
const (
	LinkFD = 3 + iota
	ConfigFD
	ContainerFD
	ReportFD
	InsideFD
	LogFD
	PcapFD
)

// InsideLifelineFD is the one descriptor of the side in the container: a pipe
// that tells it what to do and ends with bryo-net.
const InsideLifelineFD = 3

// Ready is what bryo-net reports when all is well.
const Ready = "ready\n"
