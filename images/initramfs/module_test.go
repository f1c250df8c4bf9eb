package initramfs

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeModule is an ELF file with nothing but a .modinfo section of the fields.
func fakeModule(info ...string) []byte {
	const names = "\x00.modinfo\x00.shstrtab\x00"
	data := []byte(strings.Join(info, "\x00") + "\x00")
	const headerLen, sectionLen = 64, 64
	at := uint64(headerLen)
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: at, Size: uint64(len(data))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: at + uint64(len(data)), Size: uint64(len(names))},
	}
	header := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Ehsize: headerLen,
		Shoff: at + uint64(len(data)+len(names)), Shentsize: sectionLen, Shnum: uint16(len(sections)), Shstrndx: 2,
	}
	var b bytes.Buffer
	for _, part := range []any{header, data, []byte(names), sections} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			panic(err) // the parts have a fixed size
		}
	}
	return b.Bytes()
}

func TestReadInfo(t *testing.T) {
	m := module{data: fakeModule("alias=virtio:d00000001v*", "alias=a b", "depends=virtio,net-failover", "parm=x:y=z", "")}
	if err := m.readInfo(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"virtio:d00000001v*"}, m.aliases); d != "" {
		t.Errorf("aliases (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"virtio", "net_failover"}, m.needs); d != "" {
		t.Errorf("needs (-want +got):\n%s", d)
	}
	for reason, data := range map[string][]byte{
		"not an ELF file": []byte("hello"),
		"no .modinfo":     bytes.Replace(fakeModule("depends="), []byte(".modinfo"), []byte(".modinfx"), 1),
	} {
		m := module{data: data}
		if err := m.readInfo(); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%v; want %q", err, reason)
		}
	}
}

// sign appends what the kernel takes for a signature of the length.
func sign(data []byte, length int, claimed uint32) []byte {
	signed := append(bytes.Clone(data), make([]byte, length+8)...)
	signed = binary.BigEndian.AppendUint32(signed, claimed)
	return append(signed, "~Module signature appended~\n"...)
}

func TestStripSignature(t *testing.T) {
	data := fakeModule("depends=")
	for name, c := range map[string]struct{ in, want []byte }{
		"unsigned":   {data, data},
		"signed":     {sign(data, 500, 500), data},
		"empty":      {sign(nil, 0, 0), []byte{}},
		"too long":   {sign(data, 5, 1<<31), sign(data, 5, 1<<31)},
		"magic only": {[]byte("~Module signature appended~\n"), []byte("~Module signature appended~\n")},
	} {
		if got := stripSignature(c.in); !bytes.Equal(got, c.want) {
			t.Errorf("%s: %d bytes of %d, want %d", name, len(got), len(c.in), len(c.want))
		}
	}
}

func TestDecompressRefuses(t *testing.T) {
	for _, ext := range []string{".xz", ".gz", ".zst", ".lz4"} {
		if data, err := decompress([]byte("not compressed at all"), ext); err == nil {
			t.Errorf("%s gave %d bytes", ext, len(data))
		}
	}
}

func FuzzReadInfo(f *testing.F) {
	f.Add(fakeModule("alias=a*", "depends=b,c"))
	f.Add(sign(fakeModule("depends="), 20, 20))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := module{data: data}
		if len(stripSignature(data)) > len(data) {
			t.Fatal("stripping made it longer")
		}
		if err := m.readInfo(); err != nil {
			return
		}
		for _, a := range m.aliases {
			if strings.ContainsAny(a, " \n\t") {
				t.Fatalf("alias %q would break modules.alias", a)
			}
		}
	})
}
