//go:build amd64

package bare

// Program is a bare guest's code.
type Program struct {
	Name string
	Does string // one line for people
	at   func() *byte
}

// The programs.
var (
	History = Program{"history", "read and swap shared words, with a log of what and when", historyAt}
	Rubbish = Program{"rubbish", "do what a list of Ops says to ports, devices and memory", rubbishAt}
	Greet   = Program{"greet", "stand in for a kernel: write a byte to COM1 and wait", greetAt}
	Off     = Program{"off", "stand in for a kernel: write a byte to COM1 and power off", offAt}
	Echo    = Program{"echo", "stand in for a kernel: send back what is typed on the console", echoAt}
	Chat    = Program{"chat", "stand in for a kernel: talk to all on the network", chatAt}
	Roam    = Program{"roam", "stand in for a kernel: write and check memory for ever", roamAt}
	Exit    = Program{"exit", "end at once with a status", exitAt}
	Touch   = Program{"touch", "go through the units in order", touchAt}
	Random  = Program{"random", "touch units at random", randomAt}
	Zipf    = Program{"zipf", "touch units at random after Zipf's law", zipfAt}
	Chain   = Program{"chain", "write the chain that chase follows", chainAt}
	Chase   = Program{"chase", "follow a chain of pointers from unit to unit", chaseAt}
	Leap    = Program{"leap", "go from unit to unit like chase, without reading where", leapAt}
	Fill    = Program{"fill", "write words that differ everywhere", fillAt}
	Kick    = Program{"kick", "make requests of a device, one after the other", kickAt}
	Verify  = Program{"verify", "write words and check that they stay", verifyAt}
)

// Programs lists them all.
func Programs() []Program {
	return []Program{Greet, Off, Echo, Chat, Roam, Exit, Touch, Random, Zipf, Chain, Chase, Leap, Fill, Kick, Verify, History, Rubbish}
}

// The programs' code (never called) and where it lies. A Go function value
// would be a wrapper, so assembly tells the address.
func greet()
func off()
func echo()
func chat()
func roam()
func exit()
func touch()
func random()
func zipf()
func chain()
func chase()
func leap()
func fill()
func kick()
func verify()
func history()
func rubbish()

func greetAt() *byte
func offAt() *byte
func echoAt() *byte
func chatAt() *byte
func roamAt() *byte
func exitAt() *byte
func touchAt() *byte
func randomAt() *byte
func zipfAt() *byte
func chainAt() *byte
func chaseAt() *byte
func leapAt() *byte
func fillAt() *byte
func kickAt() *byte
func verifyAt() *byte
func historyAt() *byte
func rubbishAt() *byte
