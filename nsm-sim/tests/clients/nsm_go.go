// A static Go program, with raw system calls and a garbage collector that never
// rests: 16 goroutines ask /dev/nsm, and 16 callers of AF_VSOCK are answered.
// Prints "asked and answered".
package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

type vector struct {
	base *byte
	len  uint64
}

// struct nsm_raw
type message struct{ request, reply vector }

// struct sockaddr_vm
type address struct {
	family, reserved uint16
	port, cid        uint32
	zero             [4]byte
}

func must(what string, value uintptr, errno syscall.Errno) int {
	if errno != 0 {
		fmt.Println(what, errno)
		os.Exit(1)
	}
	return int(value)
}

func call(what string, number uintptr, a, b, c uintptr) int {
	for {
		value, _, errno := syscall.Syscall(number, a, b, c)
		if errno != syscall.EINTR {
			return must(what, value, errno)
		}
	}
}

func ask(nsm uintptr, words string) {
	request, reply := []byte(words), make([]byte, 64+len(words))
	raw := &message{vector{&request[0], uint64(len(request))}, vector{&reply[0], uint64(len(reply))}}
	heap <- raw // what a channel holds is on the heap and does not move
	<-heap
	for {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, nsm, 0xC0200A00, uintptr(unsafe.Pointer(raw)))
		if errno == syscall.EINTR {
			raw.reply.len = uint64(len(reply))
			continue
		}
		must("ioctl", 0, errno)
		break
	}
	if got := reply[:raw.reply.len]; !bytes.Equal(got, []byte("re:"+words)) {
		fmt.Printf("%q was answered %q\n", words, got)
		os.Exit(1)
	}
	runtime.KeepAlive(request)
}

var heap = make(chan *message, 64)

const callers = 16

func serve(listener uintptr) {
	for i := 0; i < callers; i++ {
		heard := call("accept", syscall.SYS_ACCEPT, listener, 0, 0)
		go func() {
			word := make([]byte, 6)
			if n, err := syscall.Read(heard, word); n != 6 || err != nil {
				fmt.Println("read", n, err)
				os.Exit(1)
			}
			syscall.Write(heard, word)
			syscall.Close(heard)
		}()
	}
}

func talk(own *address) {
	caller := call("socket", syscall.SYS_SOCKET, 40, syscall.SOCK_STREAM, 0)
	call("connect", syscall.SYS_CONNECT, uintptr(caller), uintptr(unsafe.Pointer(own)), 16)
	syscall.Write(caller, []byte("a word"))
	word := make([]byte, 6)
	if n, err := syscall.Read(caller, word); n != 6 || err != nil || string(word) != "a word" {
		fmt.Println("echo", n, err)
		os.Exit(1)
	}
	syscall.Close(caller)
}

var any, own = &address{family: 40, port: 5000, cid: 1<<32 - 1}, &address{family: 40, port: 5000, cid: 16}

func main() {
	nsm, err := os.OpenFile("/dev/nsm", os.O_RDWR, 0)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	done := false
	var collector, all sync.WaitGroup
	var lock sync.Mutex
	collector.Add(1)
	go func() {
		defer collector.Done()
		for {
			runtime.GC()
			lock.Lock()
			stop := done
			lock.Unlock()
			if stop {
				return
			}
		}
	}()
	for thread := 0; thread < 16; thread++ {
		all.Add(1)
		go func(thread int) {
			defer all.Done()
			for n := 0; n < 100; n++ {
				ask(nsm.Fd(), fmt.Sprint(thread, " ", n))
			}
		}(thread)
	}
	all.Wait()
	listener := call("socket", syscall.SYS_SOCKET, 40, syscall.SOCK_STREAM, 0)
	call("bind", syscall.SYS_BIND, uintptr(listener), uintptr(unsafe.Pointer(any)), 16)
	call("listen", syscall.SYS_LISTEN, uintptr(listener), callers, 0)
	go serve(uintptr(listener))
	for i := 0; i < callers; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			talk(own)
		}()
	}
	all.Wait()
	lock.Lock()
	done = true
	lock.Unlock()
	collector.Wait()
	runtime.KeepAlive(nsm)
	fmt.Println("asked and answered")
}
